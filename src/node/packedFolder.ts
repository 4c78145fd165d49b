/**
 * Packed weights in a folder, a file for each network and kind of adapter: a line of JSON with the sizes of the parts and a
 * note on what they were packed from, the parts, and the CRC-32s of the line and of each part as 32-bit words. Any file may
 * be deleted at any time.
 */
import { constants } from "node:fs";
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { endianness } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import type { PackedReader, PackedStore } from "../pipeline/types.ts";
import { FileError } from "../runtime/errors.ts";
import { codeOf } from "./file.ts";
import { placeToWrite } from "./place.ts";
import { appear, sweep } from "./temporary.ts";

const FORMAT = "ddim-webgpu packed weights 2";
/** Of the versions before: without a note of the weights' bytes, so never used again. */
const OLD_FORMAT = "ddim-webgpu packed weights 1";

/** Weights lie in the file as in the memory of the machine. */
const header = (sizes: readonly number[], note: string) =>
  Buffer.from(`${JSON.stringify({ format: FORMAT, order: endianness(), sizes, note })}\n`);

/** Most bytes of the line; the largest networks' have about 200 kB. */
const MOST_LINE_BYTES = 16 * 2 ** 20;

const sum = (sizes: readonly number[]) => sizes.reduce((a, b) => a + b, 0);

async function filled(file: FileHandle, target: Uint8Array, position: number): Promise<boolean> {
  const { bytesRead } = await file.read(target, 0, target.byteLength, position);
  return bytesRead === target.byteLength;
}

/** The file's first line with its end; undefined where it has none. */
async function firstLine(file: FileHandle, size: number): Promise<Buffer | undefined> {
  for (let length = 2 ** 16; ; length *= 4) {
    const start = Buffer.alloc(Math.min(length, size, MOST_LINE_BYTES));
    const end = (await filled(file, start, 0)) ? start.indexOf(10) : -1;
    if (end >= 0) return start.subarray(0, end + 1);
    if (start.byteLength < length) return undefined;
  }
}

interface Line {
  readonly format?: unknown;
  readonly note?: unknown;
}

function parseLine(line: Buffer | undefined): Line {
  try {
    return Object(JSON.parse(line?.toString() ?? "")) as Line;
  } catch {
    return {};
  }
}

/** @returns what is wrong with a file that is not what its name says */
async function readerOf(file: FileHandle, path: string, sizes: readonly number[], warn: (text: string) => void) {
  const stats = await file.stat();
  const line = stats.isFile() ? await firstLine(file, stats.size) : undefined;
  const { format, note } = parseLine(line);
  if (format === OLD_FORMAT) return "is of an earlier version";
  const checks = new Uint32Array(1 + sizes.length);
  const length = line?.byteLength ?? 0;
  const end = length + sum(sizes);
  const whole =
    line !== undefined &&
    typeof note === "string" &&
    line.equals(header(sizes, note)) &&
    stats.size === end + checks.byteLength &&
    (await filled(file, new Uint8Array(checks.buffer), end)) &&
    crc32(line) === checks[0];
  if (!whole) return "is damaged";
  let [part, position] = [1, length];
  const reader: PackedReader = {
    note,
    async read(target) {
      const good = (await filled(file, target, position)) && crc32(target) === checks[part];
      if (!good) warn(`${path}: is damaged; the weights are packed anew`);
      part++;
      position += target.byteLength;
      return good;
    },
    close: () => file.close(),
  };
  return reader;
}

/** The line, the parts, and their checksums. */
async function writeEntry(path: string, line: Buffer, parts: AsyncIterable<Uint8Array>): Promise<void> {
  const file = await open(path, "w");
  try {
    await file.writeFile(line);
    const checks = [crc32(line)];
    for await (const part of parts) {
      checks.push(crc32(part));
      await file.writeFile(part);
    }
    await file.writeFile(new Uint8Array(Uint32Array.from(checks).buffer));
  } finally {
    await file.close();
  }
}

/**
 * A store over a folder, made when something is saved. Files appear whole or not at all.
 * @param warn is told about files that cannot be read, are damaged, or cannot be written; none of that ends a load
 */
export function packedFolder(folder: string, warn: (text: string) => void): PackedStore {
  const pathOf = (key: string) => join(folder, `weights-${key}.bin`);
  return {
    async open(key, sizes) {
      sweep(folder);
      const path = pathOf(key);
      let file: FileHandle | undefined;
      try {
        // A pipe in the place of a file is not waited for.
        file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
        const reader = await readerOf(file, path, sizes, warn);
        if (typeof reader !== "string") return reader;
        warn(`${path}: ${reader}; the weights are packed anew`);
      } catch (error) {
        if (codeOf(error) !== "ENOENT") warn(`${path}: cannot be read (${codeOf(error)}); the weights are packed anew`);
      }
      await file?.close();
      return undefined;
    },
    async save(key, sizes, parts, note) {
      const path = pathOf(key);
      try {
        const place = placeToWrite(path);
        await mkdir(folder, { recursive: true });
        await appear(place, (temporary) => writeEntry(temporary, header(sizes, note), parts));
      } catch (error) {
        if (error instanceof FileError && error.file === path) return warn(error.message);
        // Of the file system: anything else is no matter of this folder.
        if (codeOf(error) === undefined) throw error;
        warn(`${path}: cannot be written (${codeOf(error)})`);
      }
    },
  };
}
