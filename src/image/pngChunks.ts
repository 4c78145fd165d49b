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

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

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
  const total = chunks.reduce((sum, { data }) => sum + 12 + data.length, SIGNATURE.length);
  const file = new Uint8Array(total);
  const view = new DataView(file.buffer);
  file.set(SIGNATURE);
  let offset = SIGNATURE.length;
  for (const { type, data } of chunks) {
    view.setUint32(offset, data.length);
    for (let i = 0; i < 4; i++) file[offset + 4 + i] = type.charCodeAt(i);
    file.set(data, offset + 8);
    view.setUint32(offset + 8 + data.length, crc32(file.subarray(offset + 4, offset + 8 + data.length)));
    offset += 12 + data.length;
  }
  return file;
}

/**
 * The chunks of a file, from IHDR to IEND; what follows IEND is not looked at.
 * @param file The name that errors use.
 * @throws FileError for a wrong signature, a wrong CRC, a first chunk that is not IHDR, or a file that is cut off.
 */
export function readChunks(bytes: Uint8Array, file: string): PngChunk[] {
  if (SIGNATURE.some((byte, i) => i < bytes.length && bytes[i] !== byte) || bytes.length === 0)
    throw new FileError(file, "is not a PNG file");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const chunks: PngChunk[] = [];
  for (let offset = SIGNATURE.length; ; ) {
    if (offset + 12 > bytes.length) throw new FileError(file, `is cut off at byte ${bytes.length}`);
    const length = view.getUint32(offset);
    const type = String.fromCharCode(...bytes.subarray(offset + 4, offset + 8));
    if (!/^[A-Za-z]{4}$/.test(type) || (chunks.length === 0 && type !== "IHDR"))
      throw new FileError(file, `has no valid PNG chunk at byte ${offset}`);
    const end = offset + 12 + length;
    if (end > bytes.length)
      throw new FileError(file, `is cut off at byte ${bytes.length}, in a ${type} chunk that reaches to ${end}`);
    if (crc32(bytes.subarray(offset + 4, end - 4)) !== view.getUint32(end - 4))
      throw new FileError(file, `is damaged: wrong checksum of the ${type} chunk at byte ${offset}`);
    chunks.push({ type, data: bytes.subarray(offset + 8, end - 4) });
    if (type === "IEND") return chunks;
    offset = end;
  }
}
