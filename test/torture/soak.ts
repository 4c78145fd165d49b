/** Run after run in one process, of which some fail: what it holds stays what it was. */
import process from "node:process";
import v8 from "node:v8";
import vm from "node:vm";
import { demand, type Section, settle, type Tried, type Victim } from "./harness.ts";
import { jobs, Workshop } from "./jobs.ts";
import type { Random } from "./random.ts";

v8.setFlagsFromString("--expose-gc");
const collect: () => void = vm.runInNewContext("gc");

/** How often memory is looked at, and models are loaded anew. */
const EVERY = 50;
/** What the process may have more at its end than when it was warm, after a fifth of the runs. */
const MOST_BYTES = 64 * 2 ** 20;

const inMiB = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`;

class Soak implements Victim {
  #count = 0;
  readonly #memory: { rss: number; heap: number }[] = [];

  constructor(private readonly workshop: Workshop) {}

  async attempt(random: Random): Promise<Tried> {
    const { workshop } = this;
    const job = random.pick(jobs);
    const thrown = new Error("a caller's own");
    const fails = job.hooks !== "none" && random.chance(0.1);
    const settled = await settle(() => workshop.run(job, fails ? { onStep: () => Promise.reject(thrown) } : {}));
    if ("value" in settled) workshop.demandRight(job, settled.value);
    else demand(fails && settled.error === thrown, `${job.name} failed`, settled.error);
    workshop.demandIdle(job.name);
    if (++this.#count % EVERY === 0) await this.#look();
    return { cut: fails };
  }

  async #look(): Promise<void> {
    await this.workshop.reload();
    this.workshop.demandIdle("models loaded anew");
    collect();
    const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
    this.#memory.push({ rss, heap: heapUsed + arrayBuffers });
  }

  async end(): Promise<string> {
    const left = this.workshop.close();
    const [first, last] = [this.#memory[Math.floor(this.#memory.length / 5)], this.#memory.at(-1)];
    if (!first || !last) return left;
    for (const name of ["rss", "heap"] as const)
      demand(last[name] - first[name] < MOST_BYTES, `${name} grew from ${inMiB(first[name])} to ${inMiB(last[name])}`);
    const text = (name: "rss" | "heap") => `${inMiB(first[name])} warm, ${inMiB(last[name])} at the end`;
    return `process ${text("rss")}; heap ${text("heap")}; ${left}`;
  }
}

export const soak: Section = {
  ...{ name: "soak", what: `runs one after the other, models loaded anew every ${EVERY}`, tries: 1000, few: 50 },
  begin: async () => new Soak(await Workshop.open()),
};
