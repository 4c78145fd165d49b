/**
 * What grows how: the points of each growth curve, and one sentence per curve that says whether it is the curve it has
 * to be. Time is linear in steps and in images, memory does not depend on steps (the sampler keeps one state, whatever
 * the number of steps).
 */
import { bytes } from "../../src/cli/table.ts";
import type { EngineName, Result, Results } from "../results.ts";
import { fitLine, fitPower } from "./fit.ts";
import { digits } from "./format.ts";

export type AxisName = NonNullable<Result["axis"]>["name"];
type Point = readonly [x: number, y: number];

export interface GrowthSeries {
  readonly axis: AxisName;
  readonly engine: EngineName;
  readonly model?: string;
  /** x as measured, y in milliseconds, by x. */
  readonly time: readonly Point[];
  /** y in bytes of GPU memory at the peak. */
  readonly memory: readonly Point[];
}

/** Least share of the variance that a line has to explain to be called one. */
const LINEAR = 0.98;
/** Most that memory may vary to be called constant: alignment, not growth. */
const CONSTANT = 0.01;
const MIN_POINTS = 3;
export const axisNames = ["steps", "batch", "resolution", "channels"] as const satisfies AxisName[];
const nouns: Record<AxisName, string> = { steps: "step", batch: "image", resolution: "pixel", channels: "channel" };

/** The points of all curves, by axis and place on it. */
export function growthResults({ rows }: Results): (Result & Required<Pick<Result, "axis">>)[] {
  return rows
    .filter((result): result is Result & Required<Pick<Result, "axis">> => result.axis !== undefined)
    .sort((a, b) => axisNames.indexOf(a.axis.name) - axisNames.indexOf(b.axis.name) || a.axis.value - b.axis.value);
}

/** The curves by axis, each by x. */
export function growthSeries(results: Results): GrowthSeries[] {
  const series = new Map<
    string,
    { result: ReturnType<typeof growthResults>[number]; time: Point[]; memory: Point[] }
  >();
  for (const result of growthResults(results)) {
    const key = JSON.stringify([result.axis.name, result.model, result.dtype, result.engine]);
    const entry = series.get(key) ?? { result, time: [], memory: [] };
    series.set(key, entry);
    if (result.ms) entry.time.push([result.axis.value, result.ms.median]);
    if (result.peakGpuBytes !== undefined) entry.memory.push([result.axis.value, result.peakGpuBytes]);
  }
  return [...series.values()].map(({ result, time, memory }) => ({
    axis: result.axis.name,
    engine: result.engine,
    model: result.model,
    time,
    memory,
  }));
}

const who = ({ engine, model }: GrowthSeries) => (model ? `${engine} on ${model}` : engine);
const fits = (r2: number) => `R² ${r2.toFixed(4)}`;

/** One sentence, or nothing where there are too few points. */
export function timeStatement(series: GrowthSeries): string | undefined {
  const { axis, time } = series;
  if (time.length < MIN_POINTS) return undefined;
  if (axis === "steps" || axis === "batch") {
    const { offset, slope, r2 } = fitLine(time);
    const verdict = r2 >= LINEAR ? "linear" : "NOT linear";
    // An offset below a thousandth of a step is rounding.
    const start = Math.abs(offset) < Math.abs(slope) / 1000 ? "" : ` and ${digits(offset, 2)} ms at the start`;
    return `${who(series)}: time against ${axis} is ${verdict}, ${digits(slope)} ms per ${nouns[axis]}${start} (${fits(r2)})`;
  }
  const points = axis === "resolution" ? time.map(([x, y]): Point => [x * x, y]) : time;
  const { exponent, r2 } = fitPower(points);
  return `${who(series)}: time grows as ${nouns[axis]}s to the power of ${exponent.toFixed(2)} (${fits(r2)})`;
}

/** One sentence, or nothing where memory was not measured. */
export function memoryStatement(series: GrowthSeries): string | undefined {
  const { axis, memory } = series;
  if (memory.length < MIN_POINTS) return undefined;
  const sizes = memory.map(([, y]) => y);
  const [least, most] = [Math.min(...sizes), Math.max(...sizes)];
  const what = `${who(series)}: GPU memory against ${axis}`;
  if (most <= least * (1 + CONSTANT)) return `${what} is constant, ${bytes(most)}`;
  if (axis === "batch") {
    const { slope, r2 } = fitLine(memory);
    if (r2 >= LINEAR) return `${what} is linear, ${bytes(slope)} per image (${fits(r2)})`;
  }
  const verdict = axis === "steps" ? "NOT constant" : "growing";
  const end = ([x, y]: Point) => `${bytes(y)} at ${x}`;
  return `${what} is ${verdict}, ${end(memory[0] as Point)}, ${end(memory.at(-1) as Point)}`;
}
