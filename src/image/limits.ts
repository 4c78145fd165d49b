/** How large a picture may be. A few bytes can claim any size, so it is checked before anything is inflated or allocated. */
import { FileError, UsageError } from "../runtime/errors.ts";
import { checkOptions, type OptionNames } from "../runtime/options.ts";
import { toConsole } from "../runtime/printable.ts";

/** Pixels that a picture may have unless the caller says otherwise: 64 megapixels. */
export const MAX_PIXELS = 64e6;

/** What all readers of pictures take. */
export interface ReadOptions {
  /** Most pixels, width times height, that are decoded (default: 64 000 000). */
  maxPixels?: number;
  /** Gets a sentence about what was passed over, such as bytes after a file's end (default: the console). */
  onWarning?: (text: string) => void;
}

const READ_OPTIONS: OptionNames<ReadOptions> = { maxPixels: "a number", onWarning: "a function" };

/**
 * The limit that the options ask for.
 * @param where the function, for messages
 * @throws UsageError for an unknown option, or a limit that is no whole number from 1
 */
export function pixelLimit(where: string, options: ReadOptions): number {
  checkOptions(where, options, READ_OPTIONS);
  const { maxPixels = MAX_PIXELS } = options;
  if (!Number.isSafeInteger(maxPixels) || maxPixels < 1)
    throw new UsageError("maxPixels", `maxPixels must be a whole number from 1, not ${String(maxPixels)}`);
  return maxPixels;
}

/** @throws FileError for a picture without pixels, or one with more than `limit` */
export function checkPixels({ width, height }: { width: number; height: number }, limit: number, file: string): void {
  if (width < 1 || height < 1) throw new FileError(file, `has no pixels (${width} x ${height})`);
  if (width * height > limit)
    throw new FileError(
      file,
      `has ${width} x ${height} pixels, more than the limit of ${limit}; --max-pixels N (library: maxPixels) raises it`,
    );
}

/** Bytes of metadata that a file may hold beside its pixels. */
const METADATA = 64 * 2 ** 20;

/** @throws FileError for a file larger than `limit` pixels can be, which are of sixteen bits in each of four channels at most */
export function checkFileSize(size: number, limit: number, file: string): void {
  if (size > 8 * limit + METADATA)
    throw new FileError(
      file,
      `has ${size} bytes, more than a picture of ${limit} pixels takes; --max-pixels N (library: maxPixels) raises it`,
    );
}

/** Where sentences about a file go, which begin with its name. */
export const warner =
  (file: string, { onWarning = toConsole }: ReadOptions) =>
  (text: string): void =>
    onWarning(`${file}: ${text}`);
