/** JPEG files: libjpeg (MozJPEG) by jSquash, and jpeg-js for the four colours of printers, which that one leaves out. */

import { checkJpegScans, type JpegHeader, readJpegHeader, undecodable } from "../image/jpegHeader.ts";
import { checkPixels } from "../image/limits.ts";
import { jpegOrientation } from "../image/orientation.ts";
import type { RgbaImage } from "../image/rgba.ts";
import type { Decode } from "./decoder.ts";
import { optional } from "./optional.ts";
import { decodeWith } from "./wasmDecoder.ts";

/** What libjpeg says where it meets more than it needs, or a header of no consequence. Anything else is lost data. */
const HARMLESS = /extraneous bytes before marker|Unknown Adobe|unknown JFIF|Invalid SOS|ICC profile/;

interface JpegDecoder {
  decode(bytes: Uint8Array, preserveOrientation: boolean): RgbaImage | null;
}

/** jpeg-js takes four times as much memory for a pixel of four colours, so it gets pictures a quarter as large. */
const CMYK_SHARE = 4;

export const decodeJpeg: Decode = async (bytes, path, { limit, warn }) => {
  const header = readJpegHeader(bytes, path);
  const cmyk = header.components.length === 4;
  checkPixels(header, cmyk ? Math.floor(limit / CMYK_SHARE) : limit, path);
  const surplus = checkJpegScans(bytes, header, path);
  const image = cmyk ? await decodeCmyk(bytes, path) : await decodeWhole(bytes, header, path, warn);
  if (surplus > 0) warn(`${surplus} bytes after its end were passed over`);
  return { image, orientation: jpegOrientation(bytes) };
};

async function decodeWhole(
  bytes: Uint8Array,
  { width, height }: JpegHeader,
  path: string,
  warn: (text: string) => void,
): Promise<RgbaImage> {
  const { pixels, said } = await decodeWith<JpegDecoder>(
    {
      name: "@jsquash/jpeg",
      code: "codec/dec/mozjpeg_dec.wasm",
      load: () => import("@jsquash/jpeg/codec/dec/mozjpeg_dec.js"),
      // As stored: turning is the caller's, by one rule for all kinds of pictures.
      decode: (decoder) => decoder.decode(bytes, false),
    },
    path,
  );
  if (said.some((text) => /premature end/i.test(text)))
    throw undecodable(path, "is cut off: its pixel data end too early");
  if (said.some((text) => !HARMLESS.test(text))) throw undecodable(path);
  if (pixels?.width !== width || pixels.height !== height) throw undecodable(path);
  if (said.some((text) => /extraneous/.test(text))) warn("bytes between its JPEG segments were passed over");
  return { width, height, data: pixels.data };
}

async function decodeCmyk(bytes: Uint8Array, path: string): Promise<RgbaImage> {
  const { default: jpeg } = await optional("jpeg-js", path, () => import("jpeg-js"));
  try {
    // Sizes were checked.
    const limits = { maxMemoryUsageInMB: Number.POSITIVE_INFINITY, maxResolutionInMP: Number.POSITIVE_INFINITY };
    const { width, height, data } = jpeg.decode(bytes, { useTArray: true, tolerantDecoding: false, ...limits });
    return { width, height, data: new Uint8ClampedArray(data.buffer as ArrayBuffer, data.byteOffset, data.length) };
  } catch (cause) {
    throw undecodable(path, undefined, cause);
  }
}
