/** Runs of closed-form networks on the GPU's step kernels. */
import { type SampleOptions, sample } from "../../src/sampler/sample.ts";
import type { Schedule } from "../../src/sampler/schedule.ts";
import { testDevice } from "../support/gpu.ts";

export type Net = (x: number, t: number) => number;

/** [N, C, …] with a second half of channels where the network has one. */
export function denoiser(net: Net, shape: readonly number[], variance?: Net) {
  const image = shape.slice(1).reduce((a, b) => a * b, 1);
  return (x: Float32Array, [t]: number[]) => {
    const m = Float32Array.from(x, (v) => net(v, t!));
    if (!variance) return m;
    const v = Float32Array.from(x, (value) => variance(value, t!));
    return Float32Array.from({ length: 2 * x.length }, (_, j) => {
      const [n, k] = [Math.floor(j / (2 * image)), j % (2 * image)];
      return (k < image ? m : v)[n * image + (k % image)]!;
    });
  };
}

/** The states and predicted x0 after every evaluation. */
export async function run(schedule: Schedule, options: Omit<SampleOptions, "schedule" | "device" | "onStep">) {
  const states: { x: Float32Array; x0: Float32Array }[] = [];
  const device = await testDevice();
  await sample({ ...options, schedule, device, onStep: ({ x, x0 }) => states.push({ x, x0 }) });
  return states;
}
