/**
 * What the GPU replays: one row per evaluation of the network, each with the timestep that the network sees and the numbers
 * of the update that follows. Mostly a row is a step of the schedule; PLMS evaluates its first step twice, RePaint takes
 * steps again, and the inversions walk the schedule upwards.
 */
import { UsageError } from "../runtime/errors.ts";
import { textOf } from "../runtime/printable.ts";
import { noiseFrom, type StepCoefficients, type Threshold } from "./coefficients.ts";
import { multistepSteps, type Solver } from "./multistep.ts";
import type { Schedule, ScheduleStep } from "./scheduleTypes.ts";

/** Floats of a row's update, in the layout of `src/kernels/sampling`. */
export type Update = readonly number[];

export interface PlanRow {
  /** Number of the schedule's step that the row belongs to, and its timestep: for reports. */
  readonly step: number;
  readonly t: number;
  readonly tNetwork: number;
  readonly update: Update;
  /** Before the evaluation, x ← keep · x + noise · z: a jump to a noisier level. */
  readonly jump?: { readonly keep: number; readonly noise: number };
  /** ᾱ of the state before the row. */
  readonly alphaCumprod: number;
  /** The row is not the first of its step: known pixels were replaced before that one. */
  readonly within?: boolean;
  /** The row ends a fixed-point iteration, whose last change is reported. */
  readonly residual?: boolean;
}

/** Whether guidance acts in a row: without it, only the conditional half of an evaluation counts. */
export const isGuided = ({ update }: Pick<PlanRow, "update">): boolean => (update[3] as number) > 0;

/** Whether a row of a run down adds noise. */
export const addsNoise = (run: { plan: Plan; schedule: Schedule }, { step }: PlanRow): boolean =>
  run.plan.noise && (run.schedule.steps[step]?.sigma as number) > 0;

export interface Plan {
  readonly rows: readonly PlanRow[];
  /** Past values and base that the update remembers; null: the update is memoryless. */
  readonly history: { readonly ring: number; readonly base: boolean } | null;
  readonly threshold: Threshold | null;
  /** Some row adds noise; some row's variance is the network's. */
  readonly noise: boolean;
  readonly learned: boolean;
}

export interface PlanOptions {
  /** Guidance acts where low ≤ t ≤ high; everywhere when absent. */
  interval?: readonly [low: number, high: number];
  /** RePaint: go back up `jump` steps, `resamples` - 1 times. */
  repaint?: { readonly jump: number; readonly resamples: number };
}

type Guides = (t: number) => boolean;

const head = ({ k0, k1, clip }: StepCoefficients, guided: boolean) => [k0, k1, clip ?? 0, guided ? 1 : 0];

/** An update without memory. */
export function plainUpdate(
  { coefficients: c, sigma, logVariance: range }: Pick<ScheduleStep, "coefficients" | "sigma" | "logVariance">,
  guided = true,
): Update {
  const bounds = range ? [range.min, range.max, 1, 0] : [0, 0, 0, 0];
  return [...head(c, guided), c.k2, c.k3, c.k4, sigma, ...bounds, 0, 0, 0, 0];
}

export interface HistoryUpdate {
  /** v_0 = q0 x + q1 m + q2 x0. */
  value: readonly [x: number, m: number, x0: number];
  /** Factors of x and of the base. */
  state: number;
  base?: number;
  /** Factors of v_0, v_1, … */
  weights: readonly number[];
  /** Slot of v_1. */
  cursor?: number;
  push?: boolean;
  /** The old x becomes the base. */
  save?: boolean;
}

/** An update with memory. */
export function historyUpdate(coefficients: StepCoefficients, u: HistoryUpdate, guided = true): Update {
  const flags = [u.base ?? 0, u.cursor ?? 0, u.push ? 1 : 0, u.save ? 1 : 0];
  return [...head(coefficients, guided), ...u.value, u.state, ...flags, ...[0, 1, 2, 3].map((k) => u.weights[k] ?? 0)];
}

/** The rows' updates as the kernels read them. */
export const updateTable = ({ rows }: Plan): Float32Array => Float32Array.from(rows.flatMap((row) => [...row.update]));

/**
 * The rows of a sampling run.
 *
 * @throws UsageError where a solver and an option exclude each other
 */
export function planSchedule(schedule: Schedule, options: PlanOptions = {}): Plan {
  const { interval, repaint } = options;
  const guides: Guides = (t) => interval === undefined || (t >= interval[0] && t <= interval[1]);
  const { sampler } = schedule;
  if (sampler === "dpmpp2m" || sampler === "plms") {
    if (repaint) throw new UsageError("repaint", `sampler ${sampler} cannot jump back; use ddim or ddpm`);
    return solverPlan(schedule, sampler, guides);
  }
  const plain = (i: number): PlanRow => {
    const step = schedule.steps[i]!;
    const { t, tNetwork, alphaCumprod } = step;
    return { step: i, t, tNetwork, alphaCumprod, update: plainUpdate(step, guides(t)) };
  };
  const rows = repaint ? resampledRows(schedule, repaint, plain) : schedule.steps.map((_, i) => plain(i));
  return {
    rows,
    history: null,
    threshold: schedule.threshold,
    noise: schedule.steps.some((s) => s.sigma > 0),
    learned: schedule.steps.some((s) => s.logVariance !== null),
  };
}

/**
 * RePaint (Lugmayr et al. 2022): after every `jump` steps the state is noised back to where they began, and they are taken
 * again, `resamples` times in all.
 */
function resampledRows(
  schedule: Schedule,
  { jump, resamples }: { jump: number; resamples: number },
  plain: (i: number) => PlanRow,
): PlanRow[] {
  for (const [name, value] of [["jump", jump] as const, ["resamples", resamples] as const])
    if (!Number.isInteger(value) || value < 1)
      throw new UsageError("repaint", `repaint needs a whole number of ${name} from 1, got ${textOf(value)}`);
  const { steps } = schedule;
  const rows: PlanRow[] = [];
  for (let first = 0; first < steps.length; first += jump) {
    const end = Math.min(first + jump, steps.length);
    for (let round = 0; round < resamples; round++)
      for (let i = first; i < end; i++) {
        const ratio = steps[i]!.alphaCumprod / steps[end - 1]!.alphaCumprodPrev;
        const back = round > 0 && i === first;
        rows.push(back ? { ...plain(i), jump: { keep: Math.sqrt(ratio), noise: Math.sqrt(1 - ratio) } } : plain(i));
      }
  }
  return rows;
}

function solverPlan(schedule: Schedule, solver: Solver, guides: Guides): Plan {
  const ring = solver === "plms" ? 3 : Math.max(1, (schedule.solver?.order ?? 2) - 1);
  const bounded = schedule.clip !== null || schedule.threshold !== null;
  const value = ({ alphaCumprod: a }: ScheduleStep): HistoryUpdate["value"] => {
    if (solver === "dpmpp2m") return [0, 0, 1];
    const [signal, noise] = [Math.sqrt(a), Math.sqrt(1 - a)];
    if (bounded && schedule.rederive) return [1 / noise, 0, -signal / noise];
    return [...noiseFrom(schedule.prediction, signal, noise), 0];
  };
  const rows: PlanRow[] = [];
  let cursor = ring - 1;
  multistepSteps(schedule, solver).forEach(({ state, gain, weights, ahead }, i) => {
    const row = (at: ScheduleStep, update: Omit<HistoryUpdate, "value" | "cursor">): PlanRow => ({
      step: i,
      t: at.t,
      tNetwork: at.tNetwork,
      alphaCumprod: at.alphaCumprod,
      update: historyUpdate(at.coefficients, { ...update, cursor, value: value(at) }, guides(at.t)),
    });
    const own = { state, weights: weights.map((w) => gain * w), push: true, save: ahead !== null };
    rows.push(row(schedule.steps[i]!, own));
    cursor = (cursor + 1) % ring;
    if (ahead) rows.push({ ...row(ahead, { state: 0, base: state, weights: [gain / 2, gain / 2] }), within: true });
  });
  const history = { ring, base: solver === "plms" };
  return { rows, history, threshold: schedule.threshold, noise: false, learned: false };
}
