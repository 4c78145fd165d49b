/**
 * The container of a PNG file (W3C Portable Network Graphics, section 5): a signature, then chunks of length, type, data and
 * CRC-32. Reading checks all of it, so that a damaged file is one clear error and not a wrong picture or text.
 */
import { FileError } from "../runtime/errors.ts";

export interface PngChunk {
  /** Four letters. */
  type: string;
  data: Uint8Array;
}

/** The first bytes of every PNG file. */
export const PNG_SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/** Of a file with another beginning. */
export const NOT_PNG = "is not a PNG file";

/** Remainders of the reflected polynomial 0xEDB88320 for half a byte: two steps a byte, and nothing built at import. */
const CRC_OF_NIBBLE = [
  0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c, 0xedb88320,
  0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
];

/** CRC-32 as PNG and zlib use it, unsigned. */
export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    crc = (crc >>> 4) ^ CRC_OF_NIBBLE[crc & 15]!;
    crc = (crc >>> 4) ^ CRC_OF_NIBBLE[crc & 15]!;
  }
  return ~crc >>> 0;
}

/** The whole file: signature and chunks, each with its length and CRC. */
export function writeChunks(chunks: readonly PngChunk[]): Uint8Array<ArrayBuffer> {
  const total = chunks.reduce((sum, { data }) => sum + 12 + data.length, PNG_SIGNATURE.length);
  const file = new Uint8Array(total);
  const view = new DataView(file.buffer);
  file.set(PNG_SIGNATURE);
  let offset = PNG_SIGNATURE.length;
  for (const { type, data } of chunks) {
    view.setUint32(offset, data.length);
    for (let i = 0; i < 4; i++) file[offset + 4 + i] = type.charCodeAt(i);
    file.set(data, offset + 8);
    view.setUint32(offset + 8 + data.length, crc32(file.subarray(offset + 4, offset + 8 + data.length)));
    offset += 12 + data.length;
  }
  return file;
}

/** Chunks that a file may have: half a gigabyte in parts of 8 KiB, which is how encoders cut pixel data, has 65 536. */
const MAX_CHUNKS = 200_000;

/** Length and type of the chunk whose eight bytes these are. @throws FileError when it can be none, as the `index`th chunk */
export function parseChunkHead(head: Uint8Array, index: number, offset: number, file: string) {
  const type = String.fromCharCode(...head.subarray(4, 8));
  if (!/^[A-Za-z]{4}$/.test(type) || (index === 0 && type !== "IHDR"))
    throw new FileError(file, `has no valid PNG chunk at byte ${offset}`);
  if (index >= MAX_CHUNKS) throw new FileError(file, `has more than ${MAX_CHUNKS} chunks`);
  return { type, length: new DataView(head.buffer, head.byteOffset).getUint32(0) };
}

/** @throws FileError where a chunk of a file of `size` bytes reaches beyond its end */
export function checkChunkEnd(type: string, end: number, size: number, file: string): void {
  if (end > size) throw new FileError(file, `is cut off at byte ${size}, in a ${type} chunk that reaches to ${end}`);
}

/** @param chunk from its length to its checksum @throws FileError for a wrong checksum */
export function checkChunk(chunk: Uint8Array, type: string, offset: number, file: string): void {
  const told = new DataView(chunk.buffer, chunk.byteOffset).getUint32(chunk.length - 4);
  if (crc32(chunk.subarray(4, -4)) !== told)
    throw new FileError(file, `is damaged: wrong checksum of the ${type} chunk at byte ${offset}`);
}

/**
 * The chunks of a file, from IHDR to IEND; what follows IEND is not looked at.
 * @param file The name that errors use.
 * @throws FileError for a wrong signature, a wrong CRC, a first chunk that is not IHDR, or a file that is cut off.
 */
export function readChunks(bytes: Uint8Array, file: string): PngChunk[] {
  if (PNG_SIGNATURE.some((byte, i) => i < bytes.length && bytes[i] !== byte) || bytes.length === 0)
    throw new FileError(file, NOT_PNG);
  const chunks: PngChunk[] = [];
  for (let offset = PNG_SIGNATURE.length; ; ) {
    if (offset + 12 > bytes.length) throw new FileError(file, `is cut off at byte ${bytes.length}`);
    const { type, length } = parseChunkHead(bytes.subarray(offset, offset + 8), chunks.length, offset, file);
    const end = offset + 12 + length;
    checkChunkEnd(type, end, bytes.length, file);
    checkChunk(bytes.subarray(offset, end), type, offset, file);
    chunks.push({ type, data: bytes.subarray(offset + 8, end - 4) });
    if (type === "IEND") return chunks;
    offset = end;
  }
}
