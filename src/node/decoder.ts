/** What the decoders of the several kinds of pictures have in common. */
import type { RgbaImage } from "../image/rgba.ts";

/** A picture as it is stored, and how it is to be turned. */
export interface Decoded {
  image: RgbaImage;
  /** EXIF orientation, 1 to 8. */
  orientation: number;
}

export interface DecodeOptions {
  /** Most pixels. */
  limit: number;
  /** Gets what was passed over, as a sentence without its subject, the file. */
  warn: (text: string) => void;
}

/**
 * @param path named in errors
 * @throws FileError for a file that is cut off or damaged, or has more pixels than the limit
 */
export type Decode = (bytes: Uint8Array, path: string, options: DecodeOptions) => Promise<Decoded>;
