/** The container of a WebP file (RFC 9649, section 2): RIFF chunks. */
import { FileError } from "../runtime/errors.ts";
import { tiffOrientation } from "./orientation.ts";

export interface WebpHeader {
  width: number;
  height: number;
  /** EXIF orientation, 1 to 8. */
  orientation: number;
  animated: boolean;
  /** Where the file says that it ends. */
  end: number;
}

const fourCharacters = (bytes: Uint8Array, at: number) => String.fromCharCode(...bytes.subarray(at, at + 4));

/** RIFF and WEBP, with a length between them. */
export const isWebp = (bytes: Uint8Array): boolean =>
  fourCharacters(bytes, 0) === "RIFF" && fourCharacters(bytes, 8) === "WEBP";

/**
 * @param bytes Of the whole file, or its beginning; then the orientation, which may stand at the end, can be missing.
 * @throws FileError where the size of the picture is not told, or told twice and not the same
 */
export function readWebpHeader(bytes: Uint8Array, file: string): WebpHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = (width: number, height: number) => ({ width, height });
  const end = 8 + view.getUint32(4, true);
  let [orientation, animated] = [1, false];
  const sizes: { width: number; height: number }[] = [];
  for (let at = 12; at + 8 <= Math.min(end, bytes.length); ) {
    const type = fourCharacters(bytes, at);
    const length = view.getUint32(at + 4, true);
    const data = at + 8;
    const has = (count: number) => length >= count && data + count <= bytes.length;
    if (type === "VP8X" && has(10)) {
      animated = ((bytes[data] as number) & 2) !== 0;
      const whole = (offset: number) => (view.getUint32(data + offset, true) & 0xffffff) + 1;
      // The second three bytes are read from one before, as there may be nothing after them.
      sizes.push(size(whole(4), (view.getUint32(data + 6, true) >>> 8) + 1));
    } else if (type === "VP8 " && has(10))
      sizes.push(size(view.getUint16(data + 6, true) & 0x3fff, view.getUint16(data + 8, true) & 0x3fff));
    else if (type === "VP8L" && has(5)) {
      const bits = view.getUint32(data + 1, true);
      sizes.push(size((bits & 0x3fff) + 1, ((bits >>> 14) & 0x3fff) + 1));
    } else if (type === "EXIF" && has(length)) {
      const exif = bytes.subarray(data, data + length);
      orientation = tiffOrientation(fourCharacters(exif, 0) === "Exif" ? exif.subarray(6) : exif);
    }
    at = data + length + (length & 1);
  }
  const [first, second] = sizes;
  if (!first) throw new FileError(file, `is cut off at byte ${bytes.length}, before the size of the WebP picture`);
  if (second && !animated && (second.width !== first.width || second.height !== first.height))
    throw new FileError(file, "is damaged: it tells two sizes of its WebP picture");
  return { ...first, orientation, animated, end };
}
