/** Where the images of a run go, by the form of `-o`: one picture, numbered files, a folder, or tensors. */
import { join } from "node:path";
import { defaultScale, MOST_PIXELS } from "../image/rgba.ts";
import type { ImageSize } from "../network/configReader.ts";
import { UsageError } from "../runtime/errors.ts";
import { checkFile, checkFolder, makeFolder } from "./output.ts";
import { isFolder } from "./paths.ts";
import { plural } from "./table.ts";

export interface ImageOutput {
  /** `picture`: one PNG of everything; `files`: a PNG per image; `tensors`: a safetensors file. */
  readonly form: "picture" | "files" | "tensors";
  /** One path, or one per image. */
  readonly paths: readonly string[];
  /** To be made before the files are written. */
  readonly folder?: string;
}

const PLACEHOLDER = /%(0?)(\d*)d/;
/** Names of files have at most 255 bytes. */
const MOST_DIGITS = 200;
/** Files of a run, all of which are checked before it begins. */
const MOST_FILES = 1_000_000;

/**
 * {@link readOutput}, and {@link checkOutput} of that.
 * @throws what they throw
 */
export function planOutput(output: string, count: number, overwrite: boolean): ImageOutput {
  const plan = readOutput(output, count);
  checkOutput(plan, overwrite);
  return plan;
}

/**
 * Makes sure that files can be written.
 * @param made those that are there and stay
 * @throws FileError
 */
export function checkOutput({ folder, paths }: ImageOutput, overwrite: boolean, made: readonly string[] = []): void {
  const stay = new Set(made);
  if (folder) checkFolder(folder);
  if (!folder || isFolder(folder)) for (const path of paths) checkFile(path, overwrite || stay.has(path));
}

/**
 * Reads `-o`.
 * @param count - images of the run
 * @param first - number of the first of them, which files are named by
 * @throws UsageError when the name says no form that we know
 */
export function readOutput(output: string, count: number, first = 0): ImageOutput {
  if (isFolder(output) || /[/\\]$/.test(output)) {
    const digits = Math.max(3, String(first + count - 1).length);
    return { form: "files", paths: numbered(join(output, `%0${digits}d.png`), count, first), folder: output };
  }
  if (/\.safetensors$/i.test(output)) return { form: "tensors", paths: [output] };
  if (!/\.png$/i.test(output))
    throw new UsageError("output", `-o ${output}: the name must end in .png, .safetensors or / (a folder)`);
  if (PLACEHOLDER.test(output.replace(PLACEHOLDER, "")))
    throw new UsageError("output", `-o ${output}: one number names a file, so leave one %d`);
  return PLACEHOLDER.test(output)
    ? { form: "files", paths: numbered(output, count, first) }
    : { form: "picture", paths: [output] };
}

/**
 * The first placeholder, such as %03d, becomes the number of the image, from `first` on.
 * @throws UsageError for more digits than a name can have, or more files than a run can write
 */
function numbered(pattern: string, count: number, first: number): string[] {
  if (Number(PLACEHOLDER.exec(pattern)?.[2]) > MOST_DIGITS)
    throw new UsageError("output", `-o ${pattern}: a number in a file's name has at most ${MOST_DIGITS} digits`);
  if (count > MOST_FILES)
    throw new UsageError("count", `-n ${count}: at most ${MOST_FILES} files are written in one run`);
  return Array.from({ length: count }, (_, i) =>
    pattern.replace(PLACEHOLDER, (_match, zero: string, width: string) =>
      String(first + i).padStart(Number(width), zero ? "0" : " "),
    ),
  );
}

export function prepareFolder({ folder }: ImageOutput): void {
  if (folder) makeFolder(folder);
}

/** What was written where, for people. */
export function madeText(paths: readonly string[], count: number, { width, height }: ImageSize): string {
  const [first, last] = [paths[0], paths.at(-1)];
  return `${first === last ? first : `${first} … ${last}`}: ${plural(count, "image")} of ${width} x ${height}`;
}

/**
 * How much images are enlarged: a picture to look at so that small images can be seen, files of their own not at all.
 * @param given - what `--scale` says
 * @throws UsageError where that makes more of an image than can be held
 */
export function scaleOf(
  { form }: Pick<ImageOutput, "form">,
  given: number | undefined,
  { width, height }: ImageSize,
): number {
  if (given !== undefined && given ** 2 * width * height > MOST_PIXELS)
    throw new UsageError("scale", `--scale ${given}: an image would have ${given * width} x ${given * height} pixels`);
  return given ?? (form === "picture" ? defaultScale(width) : 1);
}
