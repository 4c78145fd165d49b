/**
 * What the GPU replays: one row per evaluation of the network, each with the timestep that the network sees and the numbers
 * of the update that follows. Mostly a row is a step of the schedule; PLMS evaluates its first step twice, RePaint takes
 * steps again, and the inversions walk the schedule upwards.
 */
import { type Update, updateRecord } from "../kernels/sampling/records.ts";
import { UsageError } from "../runtime/errors.ts";
import { textOf } from "../runtime/printable.ts";
import { noiseFrom, type StepCoefficients, type Threshold } from "./coefficients.ts";
import { multistepSteps, type Solver } from "./multistep.ts";
import type { Schedule, ScheduleStep } from "./scheduleTypes.ts";

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
export const isGuided = ({ update }: Pick<PlanRow, "update">): boolean => update.guided === true;

export const addsNoise = ({ update }: Pick<PlanRow, "update">): boolean => (update.sigma ?? 0) > 0;

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

/** x0 of an evaluation, and how it is bounded. */
export const cleanPart = ({ k0, k1, clip }: StepCoefficients, guided = true): Update => ({
  k0,
  k1,
  clip: clip ?? 0,
  guided,
});

/** An update without memory. */
export function plainUpdate(
  { coefficients, sigma, logVariance }: Pick<ScheduleStep, "coefficients" | "sigma" | "logVariance">,
  guided = true,
): Update {
  const { k2, k3, k4 } = coefficients;
  const learned = logVariance && { logMin: logVariance.min, logMax: logVariance.max, learned: true };
  return { ...cleanPart(coefficients, guided), k2, k3, k4, sigma, ...learned };
}

/** The rows' updates as the kernels read them. */
export const updateTable = ({ rows }: Plan): Uint32Array => updateRecord.pack(rows.map(({ update }) => update));

/** What rows ask of the kernels. */
export function planOf(rows: readonly PlanRow[], threshold: Threshold | null, history: Plan["history"] = null): Plan {
  const noise = rows.some(({ update }) => (update.sigma ?? 0) > 0);
  return { rows, history, threshold, noise, learned: rows.some(({ update }) => update.learned) };
}

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
  return planOf(rows, schedule.threshold);
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
  const value = ({ alphaCumprod: a }: ScheduleStep): [x: number, m: number, x0: number] => {
    if (solver === "dpmpp2m") return [0, 0, 1];
    const [signal, noise] = [Math.sqrt(a), Math.sqrt(1 - a)];
    if (bounded && schedule.rederive) return [1 / noise, 0, -signal / noise];
    return [...noiseFrom(schedule.prediction, signal, noise), 0];
  };
  const rows: PlanRow[] = [];
  let cursor = ring - 1;
  multistepSteps(schedule, solver).forEach(({ state, gain, weights, ahead }, i) => {
    const row = (at: ScheduleStep, update: Update): PlanRow => ({
      step: i,
      t: at.t,
      tNetwork: at.tNetwork,
      alphaCumprod: at.alphaCumprod,
      update: { ...cleanPart(at.coefficients, guides(at.t)), ...update, cursor, value: value(at) },
    });
    const own = { k3: state, weights: weights.map((w) => gain * w), push: true, save: ahead !== null };
    rows.push(row(schedule.steps[i]!, own));
    cursor = (cursor + 1) % ring;
    if (ahead) rows.push({ ...row(ahead, { base: state, weights: [gain / 2, gain / 2] }), within: true });
  });
  return planOf(rows, schedule.threshold, { ring, base: solver === "plms" });
}
