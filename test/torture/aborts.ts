/** Calls that are aborted, at any time and in any way. */
import type { SavedRun, Step } from "../../src/pipeline/types.ts";
import { load, shippedPath } from "../support/models.ts";
import { demand, type Section, settle, type Tried, type Victim } from "./harness.ts";
import { type Job, jobs, Workshop } from "./jobs.ts";
import type { Random } from "./random.ts";

const reasons: readonly unknown[] = [new Error("enough"), new DOMException("enough", "TimeoutError"), "enough", 0];

class Aborted implements Victim {
  constructor(private readonly workshop: Workshop) {}

  async attempt(random: Random): Promise<Tried> {
    const kind = random.next();
    if (kind < 0.1) return this.#loading(random);
    if (kind < 0.25) return this.#broken(random);
    return this.#job(random, random.pick(jobs));
  }

  async #job(random: Random, job: Job): Promise<Tried> {
    const { workshop } = this;
    const abort = new AbortController();
    const reason = random.pick(reasons);
    let saved: SavedRun | undefined;
    // Within a step, or whenever the time has come.
    const last = job.hooks !== "none" && random.chance(0.4) ? random.below(12) : undefined;
    const delay = random.next() * 1.1 * workshop.ms(job);
    const keeps = job.hooks === "all" && random.chance(0.7);
    let taken = 0;
    const onStep = async (step: Step) => {
      if (keeps && random.chance(0.5)) saved = await step.save();
      if (taken++ === last) abort.abort(reason);
    };
    const timer = last === undefined ? setTimeout(() => abort.abort(reason), delay) : undefined;
    const hooks = job.hooks === "none" ? {} : { onStep };
    const settled = await settle(() => workshop.run(job, { ...hooks, signal: abort.signal }));
    clearTimeout(timer);
    if ("value" in settled) workshop.demandRight(job, settled.value);
    else {
      demand(abort.signal.aborted, `${job.name}: ended without an abort`, settled.error);
      demand(settled.error === reason, `${job.name}: ended with another reason than its signal's`, settled.error);
    }
    workshop.demandIdle(job.name);
    if (saved) await this.#resume(job, saved);
    return { cut: "error" in settled, resumed: Number(saved !== undefined) };
  }

  async #resume(job: Job, resume: SavedRun): Promise<void> {
    this.workshop.demandRight(job, await this.workshop.run(job, { resume }));
    this.workshop.demandIdle(`${job.name}, resumed`);
  }

  /** A loop that is left. */
  async #broken(random: Random): Promise<Tried> {
    const { pixels } = this.workshop;
    const last = random.below(18);
    let taken = 0;
    for await (const step of pixels.steps({ steps: 6, seed: 7, count: 3, batch: 2 })) {
      if (random.chance(0.2)) await step.preview();
      if (random.chance(0.2)) await step.state();
      if (taken++ === last) break;
    }
    this.workshop.demandIdle("a loop that is left");
    return { cut: taken > last };
  }

  async #loading(random: Random): Promise<Tried> {
    const { device } = this.workshop;
    const abort = new AbortController();
    const reason = random.pick(reasons);
    const timer = setTimeout(() => abort.abort(reason), random.next() * 40);
    const settled = await settle(() => load(shippedPath("pixel-avatars-16"), { device, signal: abort.signal }));
    clearTimeout(timer);
    if ("value" in settled) settled.value.dispose();
    else demand(settled.error === reason, "loading ended with another reason than its signal's", settled.error);
    this.workshop.demandIdle("loading");
    return { cut: "error" in settled };
  }

  async end(): Promise<string> {
    return this.workshop.close();
  }
}

export const aborts: Section = {
  ...{ name: "aborts", what: "calls aborted at any time, loops left, loads aborted", tries: 200, few: 12 },
  begin: async () => new Aborted(await Workshop.open()),
};
