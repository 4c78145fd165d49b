/**
 * The cache folder of Python's huggingface_hub (`file_download.py`), so that both find what the other downloaded: under
 * `models--org--name` the files themselves by their hashes in `blobs`, in `snapshots/COMMIT` links to them by their paths, and in
 * `refs` the commit that a branch or tag was. A file appears there whole or not at all.
 */
import { copyFile, link, mkdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { FileError } from "../../runtime/errors.ts";
import type { HubId } from "../../weights/hub.ts";
import { checkPath } from "../../weights/path.ts";
import { codeOf } from "../file.ts";
import { appear, sweep } from "../temporary.ts";
import { type HubFile, isCommit } from "./api.ts";

export class HubCache {
  /** The folder of one model. */
  readonly folder: string;

  constructor(
    root: string,
    private readonly id: HubId,
  ) {
    this.folder = join(root, `models--${id.name.replace("/", "--")}`);
  }

  get blobs(): string {
    return join(this.folder, "blobs");
  }

  blob({ hash }: HubFile): string {
    return join(this.blobs, hash);
  }

  snapshot(commit: string): string {
    return join(this.folder, "snapshots", commit);
  }

  /** The commit that the revision was when it was last asked for; undefined where that is not known. */
  async commit(): Promise<string | undefined> {
    const { revision } = this.id;
    if (isCommit(revision)) return revision;
    const text = await readFile(this.#ref(), "utf8").catch(() => "");
    return isCommit(text.trim()) ? text.trim() : undefined;
  }

  /** Makes a snapshot's folder, and remembers that the revision is this commit. @throws FileError */
  async open(commit: string): Promise<void> {
    try {
      await mkdir(this.snapshot(commit), { recursive: true });
      if ((await this.commit()) !== commit)
        await this.#appear(this.#ref(), (temporary) => writeFile(temporary, commit));
    } catch (cause) {
      throw new FileError(this.folder, `cannot be written (${codeOf(cause)}): HF_HUB_CACHE names another folder`, {
        cause,
      });
    }
  }

  #ref(): string {
    return join(this.folder, "refs", ...checkPath({ name: this.id.name }, this.id.revision).split("/"));
  }

  /** Whether a snapshot has a file, of the length that it should have. */
  async has(commit: string, { path, size }: HubFile): Promise<boolean> {
    return (await sizeOf(this.#pointer(commit, path))) === size;
  }

  /** Puts a blob into a snapshot. @throws FileError where that cannot be written */
  async link(commit: string, file: HubFile): Promise<void> {
    const pointer = this.#pointer(commit, file.path);
    const blob = this.blob(file);
    try {
      if (await this.has(commit, file)) return;
      await this.#appear(pointer, (temporary) =>
        symlink(relative(dirname(pointer), blob), temporary)
          // Where there are no symbolic links, as on Windows without the right to make them.
          .catch(() => link(blob, temporary))
          .catch(() => copyFile(blob, temporary)),
      );
    } catch (cause) {
      throw new FileError(pointer, `cannot be written (${codeOf(cause)})`, { cause });
    }
  }

  async #appear(path: string, make: (temporary: string) => Promise<void>): Promise<void> {
    const folder = dirname(path);
    await mkdir(folder, { recursive: true });
    sweep(folder);
    await appear(path, make);
  }

  #pointer(commit: string, path: string): string {
    return join(this.snapshot(commit), ...checkPath({ name: this.id.name }, path).split("/"));
  }
}

/** The length of a file, or of what a link leads to; undefined where there is none. */
export const sizeOf = (path: string): Promise<number | undefined> =>
  stat(path).then(
    (stats) => (stats.isFile() ? stats.size : undefined),
    () => undefined,
  );
