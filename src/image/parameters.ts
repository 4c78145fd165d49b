/**
 * What a picture was made with, written into its PNG file twice: under `parameters` as the one-line convention of
 * diffusion-webui (`modules/infotext_utils.py`, so that other tools show it), and under `ddim-webgpu` as JSON, which is
 * complete and is what we read back.
 */
import { FileError } from "../runtime/errors.ts";

/** Work whose pictures no sampler made; those say less about it. */
const TASKS = ["decode", "noise"] as const;

export interface GenerationParameters {
  /** What made the picture, where that is not sampling. Then everything that only sampling has may be missing. */
  task?: (typeof TASKS)[number];
  /** The model's name, or the folder or address it came from. */
  model: string;
  /** Hash of its weights. */
  modelHash?: string;
  /** 0 to 2^64 − 1 in decimal: a string, because a number would round it. */
  seed?: string;
  /** Images of the run. */
  count: number;
  /** Number of the run's first image among all that the seed makes; missing for 0. */
  firstImage?: number;
  /** Several where the picture compares them. */
  steps?: number | readonly number[];
  /** One for all steps, or one per step. */
  eta?: number | readonly number[];
  /** The update rule, such as `ddim`. */
  sampler?: string;
  /** The rule that chose the timesteps. */
  spacing?: string;
  /** The timesteps themselves where they were given as a list, noisiest first. */
  timesteps?: readonly number[];
  /** The implementation whose quirks were reproduced, or `none`. */
  compat?: string;
  /** Classes that the images took in turn. */
  classes?: readonly number[];
  /** Guidance weight w, one for all images or several taken in turn; 1 is none. */
  guidance?: number | readonly number[];
  /** Whether x0 was clipped in every step. */
  clip?: boolean;
  dtype?: string;
  /** "high" where methods that round more were left out, or `fast`. */
  precision?: string;
  /** Where the noise came from: `philox`, `torch`, `torch-batch` or `cuda`. */
  rng?: string;
  /** Of one image, in pixels, before any enlargement. */
  size: { width: number; height: number };
  /** "warn" where keys and tensors of the model that nothing here knows were passed over. */
  unknown?: "warn";
  adapter?: string;
  /** Hash of the table of kernel variants, which decides the last bits. */
  variants?: string;
  /** Hash of the table of measured methods that was in use, if one was. */
  tuning?: string;
  /** The command line that makes the same picture again. */
  command: string;
  /** Of this package. */
  version: string;
}

/** The keyword of the line that other tools read. */
export const INFOTEXT_KEYWORD = "parameters";
/** The keyword of our JSON. */
export const JSON_KEYWORD = "ddim-webgpu";

/** Both text chunks, ready for {@link encodePng}. */
export function formatParameters(parameters: GenerationParameters): Record<string, string> {
  return { [INFOTEXT_KEYWORD]: infotext(parameters), [JSON_KEYWORD]: JSON.stringify(parameters) };
}

function infotext(parameters: GenerationParameters): string {
  return Object.entries<Field>(FIELDS)
    .flatMap(([key, { label, text = String }]) => {
      const value = parameters[key as keyof GenerationParameters];
      return value === undefined ? [] : `${label}: ${quoted(text(value as never))}`;
    })
    .join(", ");
}

/** A value that would end early or begin a new field is written as a JSON string. */
const quoted = (value: string) => (/[,:"\\\n]|^\s|\s$|^$/.test(value) ? JSON.stringify(value) : value);

/**
 * Our own parameters among the texts of a PNG file.
 * @param text What {@link readPngText} returns.
 * @param file The name that errors use.
 * @returns Undefined when the file was not made by this package.
 * @throws FileError naming the field when our chunk is there but is not what we write.
 */
export function parseParameters(text: Record<string, string>, file = "PNG image"): GenerationParameters | undefined {
  const json = text[JSON_KEYWORD];
  if (json === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new FileError(file, `its text "${JSON_KEYWORD}" is not JSON`, { cause });
  }
  if (typeof value !== "object" || value === null)
    throw new FileError(file, `its text "${JSON_KEYWORD}" is not a JSON object`);
  const fields = value as Record<string, unknown>;
  const sampled = fields.task === undefined;
  // FIELDS begin with the steps, as diffusion-webui's line does; of several faults the seed's is told first.
  const { seed, ...others } = FIELDS;
  for (const [key, { valid }] of Object.entries<Field>({ seed, ...others }))
    if (!valid(fields[key]) && (sampled || fields[key] !== undefined || !SAMPLED.has(key)))
      throw new FileError(file, `its text "${JSON_KEYWORD}" has no valid "${key}"`);
  return value as GenerationParameters;
}

/** A last line with fewer settings, unless it begins with the steps as diffusion-webui's does, belongs to the prompt. */
const LEAST_FIELDS = 3;
const NEGATIVE = "Negative prompt:";

/**
 * The settings in a `parameters` text of diffusion-webui or of ours: its last line, key by key, quotes removed. The lines
 * before it, if any, are prompts.
 */
export const parseInfotext = (text: string): Record<string, string> => splitInfotext(text).fields;

/** The prompts in a `parameters` text of diffusion-webui: the lines before its settings, and those from `Negative prompt:` on. */
export function parsePrompts(text: string): { prompt?: string; negativePrompt?: string } {
  const { lines } = splitInfotext(text);
  const at = lines.findIndex((line) => line.startsWith(NEGATIVE));
  const [positive, negative] = at < 0 ? [lines, []] : [lines.slice(0, at), lines.slice(at)];
  const prompt = positive.join("\n");
  const negativePrompt = negative.join("\n").slice(NEGATIVE.length).trim();
  return { ...(prompt && { prompt }), ...(negativePrompt && { negativePrompt }) };
}

/** As `parse_generation_parameters` of `modules/infotext_utils.py` does. */
function splitInfotext(text: string): { lines: string[]; fields: Record<string, string> } {
  const lines = text
    .trim()
    .split("\n")
    .map((line) => line.trim());
  const line = lines.at(-1) ?? "";
  const matches = [...settings(line)];
  if (matches.length < LEAST_FIELDS && !line.startsWith("Steps:")) return { lines, fields: {} };
  const fields = Object.fromEntries(matches.map(([key, value]) => [key, unquoted(value.trim())]));
  return { lines: lines.slice(0, -1), fields };
}

/** Matches of `([A-Za-z][^,:"]*):\s*("(?:[^"\\]|\\.)*"|[^,]*)`, in a time that grows with the line's length, not with its square. */
function* settings(line: string): Generator<[key: string, value: string]> {
  const [word, setting] = [/[^,:"]*/y, /\s*("(?:[^"\\]|\\.)*"|[^,]*)/y];
  for (let at = 0; at < line.length; ) {
    word.lastIndex = at;
    const [name = ""] = word.exec(line) ?? [];
    const end = at + name.length;
    const letter = name.search(/[A-Za-z]/);
    at = end + 1;
    if (line[end] !== ":" || letter < 0) continue;
    setting.lastIndex = at;
    yield [name.slice(letter), setting.exec(line)?.[1] ?? ""];
    at = setting.lastIndex;
  }
}

function unquoted(value: string): string {
  if (!value.startsWith('"')) return value;
  try {
    return String(JSON.parse(value));
  } catch {
    return value;
  }
}

const isText = (v: unknown) => typeof v === "string";
const isNumber = (v: unknown) => typeof v === "number";
const isCount = (v: unknown) => Number.isInteger(v) && (v as number) >= 1;
const isList = (v: unknown) => Array.isArray(v) && v.every(isNumber);
const spaced = (list: readonly number[]) => list.join(" ");
const optional = (valid: (v: unknown) => boolean) => (v: unknown) => v === undefined || valid(v);

/** What every sampled picture has, and pictures of another task may have. */
const SAMPLED: ReadonlySet<string> = new Set<keyof GenerationParameters>([
  ...(["seed", "steps", "eta", "sampler", "spacing", "compat", "guidance", "clip", "dtype", "rng", "adapter"] as const),
]);

interface Field {
  /** In the line. */
  readonly label: string;
  readonly valid: (v: unknown) => boolean;
  /** How the line has it, where that is not as JavaScript does. */
  readonly text?: (v: never) => string;
}

/** In the order of the line. */
const FIELDS = {
  task: { label: "Task", valid: optional((v) => (TASKS as readonly unknown[]).includes(v)) },
  steps: { label: "Steps", valid: (v) => isCount(v) || (isList(v) && (v as unknown[]).every(isCount)) },
  sampler: { label: "Sampler", valid: isText, text: (name: string) => name.toUpperCase() },
  spacing: { label: "Schedule type", valid: isText },
  guidance: { label: "CFG scale", valid: (v) => isNumber(v) || isList(v) },
  seed: { label: "Seed", valid: (v) => typeof v === "string" && /^\d{1,20}$/.test(v) && BigInt(v) < 2n ** 64n },
  size: {
    label: "Size",
    valid: (v) =>
      typeof v === "object" && v !== null && "width" in v && "height" in v && isCount(v.width) && isCount(v.height),
    text: ({ width, height }: GenerationParameters["size"]) => `${width}x${height}`,
  },
  modelHash: { label: "Model hash", valid: optional(isText) },
  model: { label: "Model", valid: isText },
  eta: { label: "Eta", valid: (v) => isNumber(v) || isList(v) },
  timesteps: { label: "Timesteps", valid: optional(isList), text: spaced },
  classes: { label: "Classes", valid: optional(isList), text: spaced },
  count: { label: "Count", valid: isCount },
  firstImage: { label: "First image", valid: optional((v) => v === 0 || isCount(v)) },
  clip: { label: "Clip", valid: (v) => typeof v === "boolean", text: (clips: boolean) => (clips ? "yes" : "no") },
  compat: { label: "Compat", valid: isText },
  dtype: { label: "Dtype", valid: isText },
  precision: { label: "Precision", valid: optional(isText) },
  rng: { label: "RNG", valid: isText },
  unknown: { label: "Unknown", valid: optional((v) => v === "warn") },
  adapter: { label: "Adapter", valid: isText },
  variants: { label: "Variants", valid: optional(isText) },
  tuning: { label: "Tuning", valid: optional(isText) },
  command: { label: "Command", valid: isText },
  version: { label: "Version", valid: isText, text: (version: string) => `ddim-webgpu ${version}` },
} as const satisfies Record<keyof GenerationParameters, Field>;
