/**
 * One rule for numbers that are not finite, and for those that f16 cannot hold: an error, or, where the caller asked for
 * it, a warning, and the work goes on with what there is.
 */
import { NonFiniteError, UsageError } from "./errors.ts";
import type { Overflow } from "./overflow.ts";
import { toConsole } from "./printable.ts";

export type NonFinite = "error" | "warn";

export const nonFiniteChoices = ["error", "warn"] as const satisfies readonly NonFinite[];

/** Throws a failure, or tells it and returns; does nothing where there is none. */
export type Judge = (failure: NonFiniteError | undefined) => void;

/**
 * @param warn default: `console.warn`
 * @throws UsageError for another word
 */
export function judgeBy(choice: NonFinite = "error", warn: (text: string) => void = toConsole): Judge {
  if (!nonFiniteChoices.includes(choice))
    throw new UsageError("nonFinite", `nonFinite must be error or warn, got ${String(choice)}`);
  return (failure) => {
    if (failure && choice === "error") throw failure;
    if (failure) warn(failure.message);
  };
}

/** Throws every failure. */
export const strict: Judge = judgeBy("error");

/** Position of the first number that is not finite; -1 where all are. */
export function firstNonFinite(data: ArrayLike<number>): number {
  for (let i = 0; i < data.length; i++) if (!Number.isFinite(data[i])) return i;
  return -1;
}

/**
 * What is wrong with numbers that are not all finite.
 * @param images over which `data` is spread evenly, the first being number `first`
 */
export function nonFiniteIn(
  what: string,
  data: ArrayLike<number>,
  images: number,
  first = 0,
): NonFiniteError | undefined {
  const at = firstNonFinite(data);
  if (at < 0) return undefined;
  const image = first + Math.floor((at * images) / data.length);
  return new NonFiniteError(`${what} holds ${data[at]} in image ${image}`, { image });
}

/**
 * What is wrong where layers had numbers that f16 cannot hold.
 * @param tOf timestep of a step; absent outside a sampling run
 */
export function overflowIn(list: readonly Overflow[], tOf?: (step: number) => number): NonFiniteError | undefined {
  const [first] = [...list].sort((a, b) => a.step - b.step);
  if (!first) return undefined;
  const { layer, step } = first;
  const t = tOf?.(step);
  const others = new Set(list.map((o) => o.layer)).size - 1;
  const more = others === 0 ? "" : `, and so ${others === 1 ? "has another layer" : `have ${others} other layers`}`;
  return new NonFiniteError(
    `${layer} has numbers beyond 65504, the largest that f16 holds${t === undefined ? "" : `, at step ${step} (t = ${t})`}${more}: use dtype f32`,
    t === undefined ? { layer } : { layer, step, t },
  );
}
