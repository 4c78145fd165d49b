/** Runs that stop and go on: what must be the same, and what is kept. */
import type { Update } from "../kernels/sampling/records.ts";
import { UsageError } from "../runtime/errors.ts";
import { planSlots } from "../sampler/stateKernels.ts";
import type { ResolvedRun } from "./run.ts";
import type { SavedRun, Tensor } from "./types.ts";

/** FNV-1a of 32-bit words in two halves: not for security, only to notice that a run is another one, or damaged. */
function hashOf(words: Uint32Array): string {
  let [a, b] = [0x811c9dc5, 0x01000193];
  for (const word of words) {
    a = Math.imul(a ^ word, 0x01000193);
    b = Math.imul(b ^ word, 0x85ebca6b) ^ (b >>> 15);
  }
  return [a, b].map((v) => (v >>> 0).toString(16).padStart(8, "0")).join("");
}

const hash = (text: string) => hashOf(Uint32Array.from({ length: text.length }, (_, i) => text.charCodeAt(i)));

/** What begins a fingerprint since models are identified by all of their bytes. */
const VERSION = "2-";

/** A row's numbers as this version of fingerprints has them: sixteen, whose meaning depends on whether the plan remembers. */
function numbersOf(update: Update, remembers: boolean): number[] {
  const { k0 = 0, k1 = 0, clip = 0, guided, k2 = 0, k3 = 0, k4 = 0, sigma = 0 } = update;
  const { logMin = 0, logMax = 0, learned, base = 0, value = [], cursor = 0, weights = [], push, save } = update;
  const four = (list: readonly number[]) => [0, 1, 2, 3].map((k) => list[k] ?? 0);
  const head = [k0, k1, clip, Number(guided)];
  if (!remembers) return [...head, k2, k3, k4, sigma, logMin, logMax, Number(learned ?? 0), ...four([]), 0];
  const memory = [...value, k3, base, cursor, Number(push ?? 0), Number(save ?? 0), ...four(weights)];
  return [...head, ...memory, ...(sigma ? [sigma, logMin, logMax, Number(learned ?? 0)] : [])];
}

/**
 * Of everything that decides the images of a run, `model` being the weights and how they are computed. The batch
 * does not, and neither does what is recorded.
 */
export function fingerprint(model: string, run: ResolvedRun): string {
  const { plan, seed, rng, antithetic, classes, guidance, count, firstImage, width, height } = run;
  const rows = plan.rows.map(({ tNetwork, update, jump }) => [
    tNetwork,
    numbersOf(update, plan.history !== null),
    jump,
  ]);
  const { contexts } = run;
  const told = [contexts?.context, contexts?.freeContext, contexts?.added, contexts?.freeAdded];
  const beside = [run.guidanceEmbedding, run.concat?.data].filter((d) => d !== undefined);
  const given = [run.noise?.data, run.inpaint?.known, run.inpaint?.mask, ...(contexts ? told : []), ...beside].map(
    (d) => (d ? hash(d.join()) : null),
  );
  const all = hash(
    JSON.stringify([
      ...[model, rows, String(seed), rng, antithetic, classes, guidance, count, firstImage, width, height],
      ...[plan.threshold, plan.history, given, run.inpaint?.paste],
    ]),
  );
  return VERSION + all;
}

/** Bits of floats, and how many there are. */
const ofFloats = (data: Float32Array) =>
  `${data.length} ${hashOf(new Uint32Array(data.buffer, data.byteOffset, data.length))}`;

/** Of all that a saved run holds: another bit anywhere is another checksum. */
export function checksum({
  fingerprint,
  seed,
  batch,
  first,
  row,
  state,
  history,
  guidance,
  done,
}: Omit<SavedRun, "checksum">): string {
  const header = [fingerprint, String(seed), batch, first, row, state.shape, ...(guidance ? [guidance] : [])];
  return hash(JSON.stringify([...header, ofFloats(state.data), ofFloats(history), ofFloats(done)]));
}

const isWhole = (v: unknown, least: number) => Number.isSafeInteger(v) && (v as number) >= least;
const isFloats = (v: unknown): v is Float32Array => v instanceof Float32Array;

/** Whether a state is a tensor of so many values as its shape says. */
function isState(v: unknown): boolean {
  const { shape, data } = Object(v) as Partial<Tensor>;
  if (!Array.isArray(shape) || shape.length !== 4 || !shape.every((d) => isWhole(d, 1))) return false;
  return isFloats(data) && data.length === shape.reduce((a, b) => a * b, 1);
}

const FIELDS: Readonly<Record<Exclude<keyof SavedRun, "checksum" | "guidance">, (v: unknown) => boolean>> = {
  fingerprint: (v) => typeof v === "string",
  seed: (v) => typeof v === "bigint" && BigInt.asUintN(64, v) === v,
  batch: (v) => isWhole(v, 1),
  first: (v) => isWhole(v, 0),
  row: (v) => isWhole(v, 0),
  state: isState,
  history: isFloats,
  done: isFloats,
};

/** What is wrong with a saved run by itself; undefined where nothing is. */
export function damageOf(saved: SavedRun): string | undefined {
  const bad = Object.entries(FIELDS).find(([name, fits]) => !fits(Object(saved)[name]));
  if (bad) return `${bad[0]} is not what it should be`;
  // Earlier versions had none, and are told by their fingerprints.
  if (saved.checksum === undefined && !saved.fingerprint.startsWith(VERSION)) return undefined;
  const { guidance } = saved;
  if (guidance !== undefined && !(Array.isArray(guidance) && guidance.every(Number.isFinite)))
    return "guidance is not what it should be";
  return saved.checksum === checksum(saved) ? undefined : "the checksum is another";
}

/** Whether a saved run has the sizes of the run that it is of. */
function fits(
  { batch, first, row, state, history, guidance, done }: SavedRun,
  run: ResolvedRun,
  channels: number,
): boolean {
  const shape = [Math.min(batch, run.count - first), channels, run.height, run.width];
  const image = channels * run.height * run.width;
  return (
    first < run.count &&
    row <= run.plan.rows.length &&
    state.shape.join() === shape.join() &&
    (guidance === undefined || (run.guidance !== undefined && guidance.length === state.shape[0])) &&
    history.length === planSlots(run.plan) * state.data.length &&
    done.length === first * image
  );
}

/** @throws UsageError when the state is of another run or an earlier version, or damaged */
export function checkResume(resume: SavedRun, own: string, run: ResolvedRun, channels: number): void {
  const refuse = (why: string): never => {
    throw new UsageError("resume", `the saved state ${why}`);
  };
  const { fingerprint } = Object(resume) as Partial<SavedRun>;
  if (typeof fingerprint === "string" && !fingerprint.startsWith(VERSION))
    refuse(
      "is of an earlier version, which identified models by the beginnings of their tensors only: start the run again",
    );
  const damage = damageOf(resume);
  if (damage) refuse(`is damaged: ${damage}; start the run again`);
  if (fingerprint !== own) refuse("is of a run with other options or another model; resume with the same ones");
  if (!fits(resume, run, channels)) refuse("is damaged: it does not have the sizes of its run; start the run again");
}
