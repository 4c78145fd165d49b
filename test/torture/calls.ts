/** Many calls at the same time on two pipelines of one device, some of which end badly. */
import { setTimeout as sleep } from "node:timers/promises";
import { UsageError, UseAfterDisposeError } from "../../src/runtime/errors.ts";
import { load, shippedPath } from "../support/models.ts";
import { demand, type Section, settle, type Tried, type Victim } from "./harness.ts";
import { type Job, jobs, Workshop } from "./jobs.ts";
import type { Random } from "./random.ts";

class Crowd implements Victim {
  constructor(private readonly workshop: Workshop) {}

  async attempt(random: Random): Promise<Tried> {
    const { workshop } = this;
    const calls = Array.from({ length: 2 + random.below(4) }, () => this.#call(random, random.pick(jobs)));
    if (random.chance(0.3)) calls.push(this.#passing(random));
    const ends = await Promise.allSettled(calls);
    for (const end of ends) if (end.status === "rejected") throw end.reason;
    workshop.demandIdle("calls at the same time");
    return { cut: ends.some((end) => end.status === "fulfilled" && end.value) };
  }

  /** One call with a fate. @returns whether that came */
  async #call(random: Random, job: Job): Promise<boolean> {
    const { workshop } = this;
    const thrown = new Error("a caller's own");
    const abort = new AbortController();
    const fate = random.next();
    const when = random.below(4);
    if (fate < 0.2) setTimeout(() => abort.abort(thrown), random.next() * 3 * workshop.ms(job));
    let taken = 0;
    const onStep = () => {
      if (taken++ === when) throw thrown;
    };
    const throws = fate > 0.8 && job.hooks !== "none";
    const isWrong = fate > 0.7 && fate < 0.8 && job.hooks !== "none";
    const hooks = throws ? { onStep } : isWrong ? { onStep: 7 as unknown as () => void } : {};
    const settled = await settle(() => workshop.run(job, { ...hooks, signal: abort.signal }));
    if ("value" in settled) {
      workshop.demandRight(job, settled.value);
      demand(!throws && !isWrong, `${job.name}: made something although it could not`);
      return false;
    }
    const isOwn = isWrong ? settled.error instanceof UsageError : settled.error === thrown;
    demand(
      isOwn && (isWrong || throws || abort.signal.aborted),
      `${job.name}: ended for another reason`,
      settled.error,
    );
    return true;
  }

  /** A pipeline that comes, and goes before its work is done. */
  async #passing(random: Random): Promise<boolean> {
    const pipe = await load(shippedPath("pixel-avatars-16"), { device: this.workshop.device });
    const call = settle(() => pipe.generate({ steps: 8, count: 4, batch: 1 }));
    await sleep(random.next() * 300);
    pipe.dispose();
    const settled = await call;
    const isRefused = "error" in settled && settled.error instanceof UseAfterDisposeError;
    demand("value" in settled || isRefused, "a pipeline that was disposed of", "error" in settled && settled.error);
    return isRefused;
  }

  async end(): Promise<string> {
    return this.workshop.close();
  }
}

export const calls: Section = {
  ...{
    name: "calls",
    what: "two to six calls at the same time, some aborted, wrong or disposed of",
    tries: 100,
    few: 6,
  },
  begin: async () => new Crowd(await Workshop.open()),
};
