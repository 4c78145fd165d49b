/** Option objects hold options that are known: one with another name would be ignored, and its caller none the wiser. */
import { UsageError } from "./errors.ts";
import { listed, shown } from "./printable.ts";

const tagOf = (v: unknown) => Object.prototype.toString.call(v);
const isNumber = (v: unknown) => typeof v === "number";
/** Bytes of a file. By name: a page's frames have classes of their own. */
const isBytes = (v: unknown) => tagOf(v) === "[object Uint8Array]";
const isList = (v: unknown) => Array.isArray(v) && v.every(isNumber);
/** Typed arrays are lists where they stand for the numbers of a tensor. */
const isData = (v: unknown) => isList(v) || (ArrayBuffer.isView(v) && isNumber((v as Float32Array).length));

/** Whether a value is a {@link Tensor}; its shape is the business of who takes it. */
function isTensor(v: unknown): boolean {
  const { shape, data } = Object(v) as { shape?: unknown; data?: unknown };
  return isList(shape) && tagOf(data) === "[object Float32Array]";
}

/** What options hold, as messages say it. */
const KINDS = {
  "a number": isNumber,
  "a bigint": (v: unknown) => typeof v === "bigint",
  "true or false": (v: unknown) => typeof v === "boolean",
  "a text": (v: unknown) => typeof v === "string",
  "a text or a function": (v: unknown) => typeof v === "string" || typeof v === "function",
  "a function": (v: unknown) => typeof v === "function",
  "an object": (v: unknown) => typeof v === "object" && v !== null && !Array.isArray(v),
  "a list": Array.isArray,
  "a Uint8Array": isBytes,
  "a list of numbers": isList,
  numbers: isData,
  "a number or a list of numbers": (v: unknown) => isNumber(v) || isList(v),
  "a tensor { shape, data: Float32Array }": isTensor,
  "a model": (v: unknown) => typeof Object(v).checkpoint === "object" && typeof Object(v).config === "object",
  "a device": (v: unknown) => typeof Object(v).capabilities === "object",
  "a GPUDevice": (v: unknown) => typeof Object(v).createBuffer === "function",
  "a GPU": (v: unknown) => typeof Object(v).requestAdapter === "function",
  "a source of files": (v: unknown) => typeof Object(v).exists === "function",
  "an AbortSignal": (v: unknown) => typeof Object(v).throwIfAborted === "function",
} as const satisfies Record<string, (value: unknown) => boolean>;
type Kind = keyof typeof KINDS;

/**
 * Every name that an option object may have; the compiler keeps it complete. With the kind of its value, or true where
 * whoever takes the option checks all of it.
 */
export type OptionNames<T> = Readonly<Record<keyof T, true | Kind>>;

/** The same without some. */
export function without<T, K extends keyof T>(names: OptionNames<T>, ...left: readonly K[]): OptionNames<Omit<T, K>> {
  const rest = Object.entries(names).filter(([name]) => !(left as readonly string[]).includes(name));
  return Object.fromEntries(rest) as OptionNames<Omit<T, K>>;
}

/** What other packages call an option, spelled as {@link plain} does, and what it may be here. */
const ELSEWHERE: Readonly<Record<string, readonly string[]>> = {
  numinferencesteps: ["steps"],
  inferencesteps: ["steps"],
  samplingsteps: ["steps"],
  numsteps: ["steps"],
  ddimsteps: ["steps"],
  ddimeta: ["eta"],
  guidancescale: ["guidance"],
  unconditionalguidancescale: ["guidance"],
  cfgscale: ["guidance"],
  cfg: ["guidance"],
  width: ["size"],
  height: ["size"],
  imagesize: ["size"],
  resolution: ["size"],
  prompt: ["context"],
  promptembeds: ["context"],
  encoderhiddenstates: ["context"],
  negativeprompt: ["negativeContext", "negativeClass"],
  negativepromptembeds: ["negativeContext"],
  pooledpromptembeds: ["textEmbeds"],
  addedcondkwargs: ["textEmbeds", "timeIds"],
  batchsize: ["count", "batch"],
  numimages: ["count"],
  numimagesperprompt: ["count"],
  numsamples: ["count"],
  n: ["count"],
  scheduler: ["sampler", "schedule"],
  samplername: ["sampler"],
  method: ["sampler", "convention"],
  timestepspacing: ["spacing"],
  scheduletype: ["spacing"],
  generator: ["seed"],
  manualseed: ["seed"],
  randomseed: ["seed"],
  latents: ["noise", "xT", "sample"],
  initimage: ["noise"],
  cconcat: ["concat"],
  lowresimage: ["concat"],
  maskedimagelatents: ["concat"],
  maskimage: ["mask"],
  denoisingstrength: ["strength"],
  denoisingstart: ["start"],
  denoisingend: ["stop"],
  useclippedmodeloutput: ["rederive"],
  clipsample: ["clip"],
  clipdenoised: ["clip"],
  model: ["denoise"],
  unet: ["denoise"],
  labels: ["classes", "classLabels"],
  classlabels: ["classes", "classLabels"],
  classids: ["classes"],
  class: ["classes", "classLabels"],
  x: ["sample"],
  t: ["timestep"],
  callback: ["onStep", "onProgress"],
  callbackonstepend: ["onStep"],
  progresscallback: ["onProgress"],
  progress: ["onProgress", "onStep"],
  abortsignal: ["signal"],
  torchdtype: ["dtype"],
  useema: ["weights"],
  ema: ["weights"],
  cachedir: ["cache"],
  cachefolder: ["cache"],
};

/** A name in whichever style, letters and digits alone. */
const plain = (name: string) => name.toLowerCase().replace(/[^a-z0-9]/g, "");

/** Insertions, deletions and changes from one word to another (Levenshtein 1966). */
function distance(a: string, b: string): number {
  let distances = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(distances[j]! + 1, next[j - 1]! + 1, distances[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    distances = next;
  }
  return distances[b.length] as number;
}

/** Longer names are not compared: they resemble nothing. */
const LONGEST = 40;

/** Of some names those that another one probably means. */
export function suggestions(given: string, names: readonly string[]): readonly string[] {
  const name = plain(given);
  if (name.length > LONGEST) return [];
  const same = names.filter((other) => plain(other) === name);
  if (same.length > 0) return same;
  const elsewhere = Object.hasOwn(ELSEWHERE, name) ? ELSEWHERE[name]!.filter((other) => names.includes(other)) : [];
  if (elsewhere.length > 0) return elsewhere;
  const near = names.map((other) => [distance(name, plain(other)), other] as const).sort(([a], [b]) => a - b);
  return near.filter(([d]) => d <= Math.floor(name.length / 3) && d === near[0]?.[0]).map(([, other]) => other);
}

/** Refuses an argument or option of another kind. @throws UsageError naming it */
export function checkKind(where: string, name: string, kind: Kind, value: unknown): void {
  if (!KINDS[kind](value)) throw new UsageError(name, `${where}: ${name} must be ${kind}, got ${shown(value)}`);
}

/**
 * Refuses an option object with a name that is not known, or a value of another kind. An option that is undefined is not
 * given.
 *
 * @param where the function, for messages
 * @throws UsageError naming the option, and those that it may have been meant for
 */
export function checkOptions<T extends object>(where: string, given: T, names: OptionNames<T>): void {
  if (typeof given !== "object" || given === null || Array.isArray(given))
    throw new UsageError(where, `${where}: options must be an object, got ${given === null ? "null" : typeof given}`);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined) continue;
    if (Object.hasOwn(names, name)) {
      const kind: true | Kind = names[name as keyof T];
      if (kind !== true) checkKind(where, name, kind, value);
      continue;
    }
    const known = Object.keys(names);
    const meant = suggestions(name, known);
    const hint = meant.length > 0 ? `did you mean ${meant.join(" or ")}?` : `it takes ${listed(known)}`;
    throw new UsageError(name, `${where}: there is no option ${JSON.stringify(name)}; ${hint}`);
  }
}
