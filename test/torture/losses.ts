/** Devices that are lost, at any time: the pipeline comes back on another, and goes on where it was. */
import { loadPipeline } from "../../src/node/index.ts";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import type { GenerateOptions, SavedRun } from "../../src/pipeline/types.ts";
import { DeviceError } from "../../src/runtime/errors.ts";
import { shippedPath } from "../support/models.ts";
import { demand, demandTyped, type Section, settle, type Tried, type Victim } from "./harness.ts";
import { areEqual, arraysOf } from "./jobs.ts";
import type { Random } from "./random.ts";

const RUNS: readonly GenerateOptions[] = [
  { steps: 12, seed: 7, count: 4, batch: 2, eta: 1 },
  { steps: 8, seed: 8, count: 4, guidance: 2, sampler: "dpmpp2m" },
];

class Loser implements Victim {
  readonly #right: ReturnType<typeof arraysOf>[] = [];
  #ms = 0;

  private constructor(private readonly pipe: DiffusionPipeline) {}

  static async begin(): Promise<Loser> {
    const loser = new Loser(await loadPipeline(shippedPath("pixel-avatars-16"), { fast: false }));
    const began = performance.now();
    for (const options of RUNS) loser.#right.push(arraysOf(await loser.pipe.generate(options)));
    loser.#ms = (performance.now() - began) / RUNS.length;
    return loser;
  }

  async attempt(random: Random): Promise<Tried> {
    const { pipe } = this;
    const which = random.below(RUNS.length);
    const options = RUNS[which] as GenerateOptions;
    const { device } = pipe;
    const idle = device.counters.liveBytes;
    const keeps = random.next();
    let saved: SavedRun | undefined;
    let taken = 0;
    const last = random.chance(0.5) ? random.below(20) : undefined;
    const timer =
      last === undefined ? setTimeout(() => device.gpu.destroy(), random.next() * 1.1 * this.#ms) : undefined;
    const settled = await settle(() =>
      pipe.generate({
        ...options,
        async onStep(step) {
          if (random.chance(keeps)) saved = await step.save();
          if (taken++ === last) device.gpu.destroy();
        },
      }),
    );
    clearTimeout(timer);
    if ("value" in settled) this.#demandRight(which, arraysOf(settled.value), "before the loss");
    else {
      demandTyped(settled.error);
      demand(settled.error instanceof DeviceError && settled.error.reason === "lost", "another error", settled.error);
      demand(device.counters.liveBytes === idle, `${device.counters.liveBytes} bytes after the loss, not ${idle}`);
    }
    device.gpu.destroy();
    await pipe.recover();
    demand(pipe.device !== device, "the device is the one that was lost");
    demand(device.counters.liveBytes === 0, `${device.counters.liveBytes} bytes on the device that was lost`);
    const again = await pipe.generate({ ...options, resume: saved });
    this.#demandRight(which, arraysOf(again), saved ? "resumed" : "taken again");
    const now = pipe.device.counters.liveBytes;
    demand(now === idle, `${now} bytes on the new device, not ${idle}`);
    return { cut: "error" in settled, resumed: Number(saved !== undefined) };
  }

  #demandRight(which: number, arrays: ReturnType<typeof arraysOf>, when: string): void {
    demand(areEqual(arrays, this.#right[which] ?? []), `run ${which}, ${when}: other pictures`);
  }

  async end(): Promise<string> {
    const { pipe } = this;
    pipe.dispose();
    demand(pipe.device.counters.liveBytes === 0, `${pipe.device.counters.liveBytes} bytes after dispose`);
    return "0 bytes left on the GPU";
  }
}

export const losses: Section = {
  ...{ name: "losses", what: "devices lost within runs, which recover() and resume", tries: 50, few: 3 },
  begin: () => Loser.begin(),
};
