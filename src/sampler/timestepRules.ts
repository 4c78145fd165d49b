/**
 * The rules by name. leading and trailing are diffusers' formulas in integer arithmetic, where diffusers
 * accumulates floats (62 of its 1000 `trailing` lists end at t = -1). Every rule but `ddim`, the sections and the `ays`
 * lists has an answer for every S in 1..T.
 */
import { UsageError } from "../runtime/errors.ts";
import { linspace } from "./betas.ts";

export interface RuleInput {
  /** How many timesteps there are to choose from: 0..T-1. */
  T: number;
  /** How many to choose. */
  S: number;
  /** diffusers' steps_offset, for `leading`. */
  offset: number;
  /** ᾱ of these timesteps, for the rules that go by noise level. */
  alphasCumprod: ArrayLike<number>;
}

/** S timesteps in ascending order; null where the rule has no list of that length. */
export type TimestepRule = (input: RuleInput) => number[] | null;

/** Rules with a name of their own. */
export type NamedSpacing = keyof typeof named;
/**
 * A named rule, `power:p` (denser near t = 0 for p > 1, near t = T for p < 1), `ddimN` (OpenAI's integer stride) or
 * sections as in `10,10,5` (OpenAI: T in equal parts, so many timesteps of each, earliest part first).
 */
export type TimestepSpacing = NamedSpacing | `power:${number}` | `ddim${number}` | `${number}` | `${number},${string}`;

const indices = (S: number) => Array.from({ length: S }, (_, i) => i);

/** n/d rounded to the nearest integer, halves to even, for n ≥ 0 and d > 0 below 2^52. */
export function roundRatio(n: number, d: number): number {
  const floor = Math.floor(n / d);
  const twice = 2 * (n - floor * d);
  return twice > d || (twice === d && floor % 2 === 1) ? floor + 1 : floor;
}

/** numpy.round and Python's round: halves to even. */
export function roundEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

/** Strictly increasing integers in 0..T-1 close to an ascending list: repeated values move up, then down from the end. */
function spread(targets: readonly number[], T: number): number[] {
  let previous = -1;
  return targets.map((target, i) => {
    previous = Math.max(Math.round(target), previous + 1);
    return Math.min(previous, T - targets.length + i);
  });
}

/** int(linspace(0, √(0.8 T), S)²) in float64, ascending, with repeated values where S is large (ermongroup, ldm). */
export function squares(T: number, S: number): number[] {
  return linspace(0, Math.sqrt(0.8 * T), S).map((root) => Math.floor(root * root));
}

/**
 * The timesteps whose noise levels are nearest to S levels that `warp` makes equidistant, both ends included. An end
 * without any signal (zero terminal SNR) counts as one neighbour's distance beyond its neighbour.
 */
function byNoiseLevel({ T, S, alphasCumprod }: RuleInput, warp: Warp): number[] {
  const logs = indices(T).map((t) => Math.log(1 / alphasCumprod[t]! - 1));
  if (alphasCumprod[T - 1] === 0 && T > 1) logs[T - 1] = logs[T - 2]! + (T > 2 ? logs[T - 2]! - logs[T - 3]! : 1);
  const level = logs.map(warp);
  let t = 0;
  const nearest = linspace(level[T - 1]!, level[0]!, S)
    .reverse()
    .map((target) => {
      while (t + 1 < T && Math.abs(level[t + 1]! - target) <= Math.abs(level[t]! - target)) t++;
      return t;
    });
  return spread(nearest, T);
}

/** From ln((1 - ᾱ)/ᾱ) = 2 ln σ to the scale on which the levels are equidistant. */
type Warp = (twiceLogSigma: number) => number;
const logSnr: Warp = (v) => v;
/** Karras et al. 2022, eq. (5), ρ = 7. */
const karras: Warp = (v) => Math.exp(v / 2 / 7);

/** Sabour et al. 2024, "Align your steps": published for ten steps of T = 1000. */
const alignYourSteps = {
  sd: [24, 124, 233, 343, 455, 545, 645, 736, 850, 999],
  sdxl: [13, 53, 116, 193, 310, 443, 587, 730, 845, 999],
};
const published =
  (list: readonly number[]): TimestepRule =>
  ({ T, S }) =>
    T === 1000 && S === list.length ? [...list] : null;

const named = {
  leading: ({ T, S, offset }) => indices(S).map((i) => i * Math.floor(T / S) + offset),
  trailing: ({ T, S }) => indices(S).map((i) => roundRatio(T * (i + 1), S) - 1),
  /**
   * A single step is the noisiest one: that is where x_T is. A point between two timesteps is rounded as numpy's float64
   * has it (13·(999/26) is 499.49999999999994), so that lists equal diffusers' also there.
   */
  linspace: ({ T, S }) => (S === 1 ? [T - 1] : linspace(0, T - 1, S).map(roundEven)),
  uniform: ({ T, S }) => indices(S).map((i) => Math.floor((i * T) / S)),
  /** From 0.8 T down, as in the paper's code; its repeated values are moved apart. */
  quad: ({ T, S }) => spread(squares(T, S), T),
  logsnr: (input) => byNoiseLevel(input, logSnr),
  karras: (input) => byNoiseLevel(input, karras),
  /** OpenAI's "ddimN": the smallest integer stride that gives exactly N timesteps. */
  ddim: ({ T, S }) => {
    const stride = Math.ceil(T / S);
    return Math.ceil(T / stride) === S ? indices(S).map((i) => i * stride) : null;
  },
  "ays-sd": published(alignYourSteps.sd),
  "ays-sdxl": published(alignYourSteps.sdxl),
} satisfies Record<string, TimestepRule>;

export const timestepSpacings = Object.keys(named) as NamedSpacing[];

/** OpenAI space_timesteps: `counts[k]` timesteps of the k-th part, both ends of the part included. */
export function sectionRule(counts: readonly number[], place: (i: number, size: number, count: number) => number) {
  return ({ T }: RuleInput): number[] | null => {
    const size = (k: number) => Math.floor(T / counts.length) + (k < T % counts.length ? 1 : 0);
    if (counts.some((count, k) => count > size(k))) return null;
    let start = 0;
    return counts.flatMap((count, k) => {
      const from = start;
      start += size(k);
      return indices(count).map((i) => from + place(i, size(k), count));
    });
  };
}

const exactPlace = (i: number, size: number, count: number) => (count > 1 ? roundRatio(i * (size - 1), count - 1) : 0);

export interface ParsedSpacing {
  rule: TimestepRule;
  /** The number of steps that the name itself says. */
  steps?: number;
  /** The parts of a list of sections. */
  sections?: number[];
}

/** @throws UsageError when there is no rule of that name */
export function parseSpacing(spacing: TimestepSpacing): ParsedSpacing {
  if (Object.hasOwn(named, spacing)) return { rule: named[spacing as NamedSpacing] };
  const power = Number(/^power:(\d*\.?\d+)$/.exec(spacing)?.[1]);
  if (power > 0) return { rule: ({ T, S }) => spread(powers(T, S, power), T) };
  const stride = /^ddim(\d+)$/.exec(spacing);
  if (stride) return { rule: named.ddim, steps: Number(stride[1]) };
  if (/^\d+(,\d+)*$/.test(spacing)) {
    const sections = spacing.split(",").map(Number);
    return { rule: sectionRule(sections, exactPlace), sections, steps: sections.reduce((a, b) => a + b, 0) };
  }
  throw new UsageError(
    "spacing",
    `spacing must be one of ${timestepSpacings.join(", ")}, power:P, ddimN or sections like 10,10,5, got ${spacing}`,
  );
}

function powers(T: number, S: number, power: number): number[] {
  return S === 1 ? [T - 1] : indices(S).map((i) => (T - 1) * (i / (S - 1)) ** power);
}
