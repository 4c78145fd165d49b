/** Pictures in files of their own: written as they are made, so that whatever ends a run leaves those that are finished. */
import { parseParameters } from "../image/parameters.ts";
import type { RgbaImage } from "../image/rgba.ts";
import type { FileError } from "../runtime/errors.ts";
import { type ImageOutput, prepareFolder } from "./imageOutput.ts";
import { readHeader } from "./inspect/picture.ts";
import { fileFailure, writeFile } from "./output.ts";
import { pathKind } from "./paths.ts";
import { plural } from "./table.ts";

export class PictureFiles {
  readonly #written: Set<string>;

  /**
   * @param encode the file of an image, by its number within the run
   * @param made files that an earlier part of the run has written, which stay as they are
   */
  constructor(
    private readonly output: ImageOutput,
    private readonly encode: (image: RgbaImage, i: number) => Promise<Uint8Array>,
    made: Iterable<string> = [],
  ) {
    this.#written = new Set(made);
  }

  /**
   * Writes what a batch has made, where `-o` names files.
   * @param first number of its first image within the run
   * @throws FileError of the first that cannot be written; the others are there
   */
  async write(first: number, images: readonly RgbaImage[]): Promise<void> {
    if (this.output.form !== "files") return;
    prepareFolder(this.output);
    let failure: FileError | undefined;
    for (const [i, image] of images.entries()) {
      const path = this.output.paths[first + i] as string;
      if (this.#written.has(path)) continue;
      const file = await this.encode(image, first + i);
      const failed = await fileFailure(() => writeFile(path, file));
      if (!failed) this.#written.add(path);
      failure ??= failed;
    }
    if (failure) throw failure;
  }

  /** What is there of all images, for people; undefined where nothing is. */
  get kept(): string | undefined {
    const { size } = this.#written;
    const missing = this.output.paths.filter((path) => !this.#written.has(path));
    if (size === 0 || missing.length === 0) return undefined;
    const last = missing.length > 1 ? ` … ${missing.at(-1)}` : "";
    return `${size} of ${plural(this.output.paths.length, "image")} are written, missing ${missing[0]}${last}`;
  }
}

/** A run as the files of its images name it. */
interface NamedRun {
  readonly command: string;
  /** Number of its first image. */
  readonly firstImage: number;
  readonly modelHash: () => Promise<string>;
}

/** A command line up to where its output goes. */
const withoutOutput = (command: string) => command.slice(0, command.lastIndexOf(" -o "));

/** Those of a run's files that an earlier part of it has written, as they say of themselves. @throws what hashing throws */
export async function madeBefore({ paths }: ImageOutput, run: NamedRun): Promise<string[]> {
  const made: string[] = [];
  for (const [i, path] of paths.entries()) {
    if (pathKind(path) !== "file") continue;
    await fileFailure(async () => {
      const { command = "", modelHash } = parseParameters((await readHeader(path)).text, path) ?? {};
      const isSame = withoutOutput(command) === withoutOutput(run.command);
      const isNumbered = command.endsWith(` # image ${run.firstImage + i}`);
      if (isSame && isNumbered && modelHash === (await run.modelHash())) made.push(path);
    });
  }
  return made;
}
