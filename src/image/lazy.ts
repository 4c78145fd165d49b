/** The reader of pictures, loaded with the first of them: most pages only make some. */
import type { ReadOptions } from "./limits.ts";
import type { RgbaImage } from "./rgba.ts";

/**
 * Reads a picture as eight-bit RGBA, alpha not premultiplied, without conversion of colours, the way up that its EXIF
 * orientation says; of an animation the first frame. For browsers: `ddim-webgpu/node` has one for Node.
 * @param from such as a `File` of an `<input>`, or the file's bytes
 * @throws FileError when it is no picture that the browser reads, is cut off or damaged, or has more pixels than the limit;
 *   UsageError for a limit that is none, or where there is no `createImageBitmap`
 */
export async function readImage(from: Blob | ArrayBuffer | Uint8Array, options?: ReadOptions): Promise<RgbaImage> {
  return (await import("./readImage.ts")).readImage(from, options);
}
