/** WebP files, by libwebp in WebAssembly (jSquash). */
import { checkPixels } from "../image/limits.ts";
import type { RgbaImage } from "../image/rgba.ts";
import { readWebpHeader } from "../image/webpHeader.ts";
import { FileError } from "../runtime/errors.ts";
import type { Decode } from "./decoder.ts";
import { decodeWith } from "./wasmDecoder.ts";

interface WebpDecoder {
  decode(bytes: Uint8Array): RgbaImage | null;
}

export const decodeWebp: Decode = async (bytes, path, { limit, warn }) => {
  const { width, height, orientation, animated, end } = readWebpHeader(bytes, path);
  checkPixels({ width, height }, limit, path);
  if (animated) throw new FileError(path, "is an animated WebP picture; save one of its frames as a picture");
  if (end > bytes.length) throw new FileError(path, `is cut off at byte ${bytes.length} of ${end}`);
  const { pixels } = await decodeWith<WebpDecoder>(
    {
      name: "@jsquash/webp",
      code: "codec/dec/webp_dec.wasm",
      load: () => import("@jsquash/webp/codec/dec/webp_dec.js"),
      decode: (decoder) => decoder.decode(bytes.subarray(0, end)),
    },
    path,
  );
  if (pixels?.width !== width || pixels.height !== height)
    throw new FileError(path, "is a WebP file that cannot be decoded, cut off or damaged");
  if (end < bytes.length) warn(`${bytes.length - end} bytes after its end were passed over`);
  return { image: { width, height, data: pixels.data }, orientation };
};
