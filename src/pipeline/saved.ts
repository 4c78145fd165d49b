/** Runs that stop and go on: what must be the same, and what is kept. */
import { UsageError } from "../runtime/errors.ts";
import type { ResolvedRun } from "./run.ts";
import type { SavedRun } from "./types.ts";

/** FNV-1a in two 32-bit lanes: not for security, only to notice that a run is another one. */
function hash(text: string): string {
  let [a, b] = [0x811c9dc5, 0x01000193];
  for (let i = 0; i < text.length; i++) {
    a = Math.imul(a ^ text.charCodeAt(i), 0x01000193);
    b = Math.imul(b ^ text.charCodeAt(i), 0x85ebca6b) ^ (b >>> 15);
  }
  return [a, b].map((v) => (v >>> 0).toString(16).padStart(8, "0")).join("");
}

/** What begins a fingerprint since models are identified by all of their bytes. */
const VERSION = "2-";

/**
 * Of everything that decides the images of a run, `model` being the weights and how they are computed. The batch
 * does not, and neither does what is recorded.
 */
export function fingerprint(model: string, run: ResolvedRun): string {
  const { plan, seed, rng, antithetic, classes, guidance, count, firstImage, width, height } = run;
  const rows = plan.rows.map(({ tNetwork, update, jump }) => [tNetwork, update, jump]);
  const { contexts } = run;
  const told = [contexts?.context, contexts?.freeContext, contexts?.added, contexts?.freeAdded];
  const given = [run.noise?.data, run.inpaint?.known, run.inpaint?.mask, ...(contexts ? told : [])].map((d) =>
    d ? hash(d.join()) : null,
  );
  const all = hash(
    JSON.stringify([
      ...[model, rows, String(seed), rng, antithetic, classes, guidance, count, firstImage, width, height],
      ...[plan.threshold, plan.history, given, run.inpaint?.paste],
    ]),
  );
  return VERSION + all;
}

/** @throws UsageError when the state is of another run or an earlier version, or damaged */
export function checkResume(resume: SavedRun, own: string, run: ResolvedRun, channels: number): void {
  if (!String(resume.fingerprint).startsWith(VERSION))
    throw new UsageError(
      "resume",
      "the saved state is of an earlier version, which identified models by the beginnings of their tensors only: start the run again",
    );
  if (resume.fingerprint !== own)
    throw new UsageError(
      "resume",
      "the saved state is of a run with other options or another model; resume with the same ones",
    );
  const image = channels * run.height * run.width;
  const n = Math.min(resume.batch, run.count - resume.first);
  const fits = n > 0 && resume.state.data.length === n * image && resume.done.length === resume.first * image;
  if (!fits || !(resume.row >= 0 && resume.row <= run.plan.rows.length))
    throw new UsageError("resume", "the saved state does not have the sizes that it says it has");
}
