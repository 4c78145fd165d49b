/**
 * Packed weights in a folder, a file for each network and kind of adapter: a line of JSON with the sizes of the parts,
 * the parts, and their CRC-32s as 32-bit words. Any file may be deleted at any time.
 */
import { type FileHandle, mkdir, open, rename, unlink } from "node:fs/promises";
import { endianness } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import type { PackedReader, PackedStore } from "../pipeline/types.ts";

/** Weights lie in the file as in the memory of the machine. */
const header = (sizes: readonly number[]) =>
  Buffer.from(`${JSON.stringify({ format: "ddim-webgpu packed weights 1", order: endianness(), sizes })}\n`);

const sum = (sizes: readonly number[]) => sizes.reduce((a, b) => a + b, 0);
const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code;

async function filled(file: FileHandle, target: Uint8Array, position: number): Promise<boolean> {
  const { bytesRead } = await file.read(target, 0, target.byteLength, position);
  return bytesRead === target.byteLength;
}

/** @returns undefined for a file that is not what its name says */
async function readerOf(file: FileHandle, path: string, sizes: readonly number[], warn: (text: string) => void) {
  const expected = header(sizes);
  const [start, checks] = [Buffer.alloc(expected.byteLength), new Uint32Array(sizes.length)];
  const end = expected.byteLength + sum(sizes);
  const whole =
    (await file.stat()).size === end + checks.byteLength &&
    (await filled(file, start, 0)) &&
    start.equals(expected) &&
    (await filled(file, new Uint8Array(checks.buffer), end));
  if (!whole) return undefined;
  let [part, position] = [0, expected.byteLength];
  const reader: PackedReader = {
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

/**
 * A store over a folder, made when something is saved. Files appear whole or not at all.
 * @param warn is told about files that cannot be read, are damaged, or cannot be written; none of that ends a load
 */
export function packedFolder(folder: string, warn: (text: string) => void): PackedStore {
  const pathOf = (key: string) => join(folder, `weights-${key}.bin`);
  return {
    async open(key, sizes) {
      const path = pathOf(key);
      let file: FileHandle | undefined;
      try {
        file = await open(path);
        const reader = await readerOf(file, path, sizes, warn);
        if (reader) return reader;
        warn(`${path}: is damaged; the weights are packed anew`);
      } catch (error) {
        if (codeOf(error) !== "ENOENT") warn(`${path}: cannot be read (${codeOf(error)}); the weights are packed anew`);
      }
      await file?.close();
      return undefined;
    },
    async save(key, sizes, parts) {
      const path = pathOf(key);
      const temporary = `${path}.${process.pid}.tmp`;
      try {
        await mkdir(folder, { recursive: true });
        const file = await open(temporary, "w");
        try {
          await file.writeFile(header(sizes));
          const checks = new Uint32Array(sizes.length);
          let i = 0;
          for await (const part of parts) {
            checks[i++] = crc32(part);
            await file.writeFile(part);
          }
          await file.writeFile(new Uint8Array(checks.buffer));
        } finally {
          await file.close();
        }
        await rename(temporary, path);
      } catch (error) {
        await unlink(temporary).catch(() => {});
        // Of the file system: anything else is no matter of this folder.
        if (codeOf(error) === undefined) throw error;
        warn(`${path}: cannot be written (${codeOf(error)})`);
      }
    },
  };
}
