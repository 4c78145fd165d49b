/**
 * One file of the Hub into the cache. What came of it lies beside the blobs as `HASH.PID.RANDOM.incomplete`, each process having
 * its own, as Python's do since none of them can rely on locks; whoever comes later goes on with one whose process is gone.
 */
import { randomBytes } from "node:crypto";
import { renameSync, statSync } from "node:fs";
import { constants, copyFile, mkdir, open, readdir, rename, rm, stat, statfs } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { FileError } from "../../runtime/errors.ts";
import { rangeStart } from "../../weights/answers.ts";
import type { Answer } from "../../weights/requests.ts";
import { codeOf } from "../file.ts";
import { isAlive } from "../temporary.ts";
import type { HubFile } from "./api.ts";
import { sizeOf } from "./cache.ts";
import { Written } from "./written.ts";

/** Asks for the file, or what `range()` says of it at every try. */
export type Get = (
  range: () => string | undefined,
  signal: AbortSignal | undefined,
  use: (answer: Answer) => Promise<void>,
) => Promise<void>;

export interface Download {
  readonly file: HubFile;
  /** For messages. */
  readonly label: string;
  /** Where it shall lie. */
  readonly blob: string;
  readonly get: Get;
  onProgress?(loaded: number, total: number): void;
}

/** Of this process, while they are written. */
const active = new Set<string>();

/** A process that writes nothing for so long is gone, whoever has its number now: servers are given up sooner. */
const ABANDONED_MS = 10 * 60_000;

/** A connection that breaks off is taken up again as long as it brings this much, and otherwise a few times. */
const PROGRESS = 2 ** 20;
const TRIES = 4;

/**
 * Makes the blob, unless it is there.
 * @throws FileError when it cannot be had, or is not what the Hub lists; the signal's reason. What came by then stays.
 */
export async function download(asked: Download, signal?: AbortSignal): Promise<void> {
  const { file, label, blob } = asked;
  if ((await sizeOf(blob)) === file.size) return;
  try {
    await mkdir(dirname(blob), { recursive: true });
    const { path, resumed } = await partFor(blob);
    try {
      await checkRoom(file, path);
      if (!(await complete(asked, path, signal))) {
        // What had come before may have been damaged.
        if (!resumed || !(await complete(asked, path, signal)))
          throw new FileError(
            label,
            "what came is not what the Hub lists, by its hash: try again, or tell who runs the server",
          );
      }
      place(path, blob, file.size);
    } finally {
      active.delete(basename(path));
      const isOver = !(await sizeOf(path)) || (await sizeOf(blob)) === file.size;
      if (isOver) await rm(path, { force: true }).catch(() => {});
    }
  } catch (cause) {
    if (cause instanceof FileError || codeOf(cause) === undefined || signal?.aborted) throw cause;
    throw new FileError(blob, `cannot be written (${codeOf(cause)})`, { cause });
  }
}

/**
 * Gives a part its blob's name, unless there is such a blob by now: somebody may be reading that one already. At one go, as
 * two processes that began together end together.
 */
function place(path: string, blob: string, size: number): void {
  const isThere = () => statSync(blob, { throwIfNoEntry: false })?.size === size;
  if (isThere()) return;
  try {
    renameSync(path, blob);
  } catch (error) {
    // Taken over by a process that believed this one gone.
    if (!isThere()) throw error;
  }
}

/** Another process's part that was left, under a name of our own; or a new one. */
async function partFor(blob: string): Promise<{ path: string; resumed: boolean }> {
  const folder = dirname(blob);
  const name = `${basename(blob)}.${process.pid}.${randomBytes(4).toString("hex")}.incomplete`;
  const path = join(folder, name);
  active.add(name);
  for (const part of await partsLeft(folder)) {
    if (part.hash !== basename(blob)) continue;
    const mine = await rename(part.path, path).catch(() => "gone");
    if (mine !== "gone") return { path, resumed: true };
  }
  // Of Python's before version 1.
  const copied = await copyFile(`${blob}.incomplete`, path, constants.COPYFILE_FICLONE).catch(() => "none");
  return { path, resumed: copied !== "none" };
}

/** Parts whose processes are gone, the largest first. */
async function partsLeft(folder: string): Promise<{ path: string; hash: string; size: number }[]> {
  const parts = [];
  for (const name of await readdir(folder)) {
    const [, hash, digits] = /^([0-9a-f]+)\.(\d{1,10})\.[0-9a-f]{8}\.incomplete$/.exec(name) ?? [];
    if (hash === undefined || active.has(name)) continue;
    const path = join(folder, name);
    const pid = Number(digits);
    const stats = await stat(path).catch(() => undefined);
    if (stats && (pid === process.pid || !isAlive(pid) || Date.now() - stats.mtimeMs > ABANDONED_MS))
      parts.push({ path, hash, size: stats.size });
  }
  return parts.sort((a, b) => b.size - a.size);
}

/** Removes such parts of blobs that have come by another way. */
export async function sweepParts(folder: string): Promise<void> {
  for (const { path, hash } of await partsLeft(folder).catch(() => []))
    if ((await sizeOf(join(folder, hash))) !== undefined) await rm(path, { force: true }).catch(() => {});
}

/** @throws FileError where the disk is known to be too full */
async function checkRoom({ size }: HubFile, path: string): Promise<void> {
  const { bavail, bsize, blocks } = await statfs(dirname(path)).catch(() => ({ bavail: 0, bsize: 0, blocks: 0 }));
  const needed = size - ((await sizeOf(path)) ?? 0);
  if (blocks === 0 || needed <= bavail * bsize) return;
  throw new FileError(
    dirname(path),
    `has no room for ${needed} bytes, only for ${bavail * bsize}: HF_HUB_CACHE names another folder`,
  );
}

/** Fetches what is missing. @returns whether the whole has the hash that it should have; what has not is emptied */
async function complete(asked: Download, path: string, signal?: AbortSignal): Promise<boolean> {
  const { file, label, onProgress } = asked;
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT);
  try {
    const written = new Written(handle, file);
    await written.readBack(signal);
    onProgress?.(written.length, file.size);
    for (let tries = 0; written.length < file.size; ) {
      const before = written.length;
      const failure = await asked
        .get(
          () => (written.length > 0 ? `bytes=${written.length}-` : undefined),
          signal,
          (answer) => receive(answer, written, asked),
        )
        .catch((error: unknown) => error);
      signal?.throwIfAborted();
      tries = written.length - before < PROGRESS ? tries + 1 : 0;
      if (failure !== undefined && tries > 0) throw failure;
      if (tries === TRIES) throw new FileError(label, `ended after ${written.length} of ${file.size} bytes`);
    }
    await handle.datasync();
    if (written.digest() === file.hash) return true;
    await handle.truncate(0);
    return false;
  } finally {
    await handle.close();
  }
}

async function receive(answer: Answer, written: Written, { file, label, onProgress }: Download): Promise<void> {
  const { response } = answer;
  try {
    const start = response.status === 206 ? (rangeStart(response) ?? written.length) : 0;
    if (response.status === 416 || (start !== 0 && start !== written.length))
      throw new FileError(label, `the server answered with another part than from byte ${written.length} on`);
    if (start !== written.length) await written.restart();
    for (let part = await answer.next(); part; part = await answer.next()) {
      if (written.length + part.byteLength > file.size)
        throw new FileError(label, `gave more than the ${file.size} bytes that the Hub lists`);
      await written.add(part);
      onProgress?.(written.length, file.size);
    }
  } finally {
    await answer.cancel();
  }
}
