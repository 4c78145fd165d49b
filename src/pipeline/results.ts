/** What steps have made. */
import { UsageError } from "../runtime/errors.ts";
import type { ResolvedRun } from "./run.ts";
import type { GenerateOptions, Step, StepStatistics, Steps } from "./types.ts";

/** Steps with what they have made, once all are taken. */
export function withResult<T>(steps: AsyncGenerator<Step, T>): Steps<T> {
  let ended: { readonly result: T } | undefined;
  async function* all(): AsyncGenerator<Step, T> {
    ended = { result: yield* steps };
    return ended.result;
  }
  const get = () => {
    if (!ended) throw new UsageError("result", "the result is there when all steps are taken");
    return ended.result;
  };
  return Object.defineProperty(all(), "result", { get }) as Steps<T>;
}

/** Takes all steps; a throwing onStep frees them. */
export async function finish<T>(steps: Steps<T>, onStep?: GenerateOptions["onStep"]): Promise<T> {
  for await (const step of steps) await onStep?.(step);
  return steps.result;
}

/** Of a run from a row on: by image, then by row. */
export function statisticsOf(
  run: ResolvedRun,
  from: number,
  numbers: (row: number, image: number) => readonly number[],
): StepStatistics[] {
  return Array.from({ length: run.count }, (_, i) =>
    run.plan.rows.slice(from).map(({ step, t }, r): StepStatistics => {
      const [min = 0, max = 0, clipped = 0, nonFinite = 0] = numbers(from + r, i);
      return { step, t, image: run.firstImage + i, min, max, clipped, nonFinite };
    }),
  ).flat();
}
