/**
 * What it costs the processor to record one step: microseconds per dispatch, for the default model with the release
 * toggles. Run with `npx vitest bench --run bench/encode.bench.ts`; the figure to compare is the printed median.
 */
import { afterAll, bench, describe } from "vitest";
import { targetFor } from "../src/kernels/target.ts";
import { WeightStore } from "../src/network/weights.ts";
import { openNodeDevice } from "../src/node/device.ts";
import { folderSource } from "../src/node/folder.ts";
import { openModel } from "../src/pipeline/model.ts";
import { createState, Evaluator, releaseState } from "../src/unet/evaluator.ts";
import { lowerNetwork } from "../src/unet/lowered.ts";

const device = await openNodeDevice();
const model = await openModel(folderSource("weights/pixel-avatars-16"));
const target = targetFor(device);
const size = model.config.sample_size ?? { height: 16, width: 16 };
const lowered = lowerNetwork(model.config, target, { size, dtype: "f32", timesteps: "step" });
const weights = await WeightStore.load(device, target, lowered.recipes, model.checkpoint, {});
const state = createState(device, lowered, 1);
const evaluator = await Evaluator.create(device, lowered, weights, state, {
  batch: 1,
  evaluations: 1,
  timesteps: new Float32Array(model.config.time.inputs),
  classes: new Uint32Array(1),
});
const count = evaluator.main.dispatches.length;
const times: number[] = [];

describe(`recording ${count} dispatches on ${device.name}`, () => {
  bench("one step", () => {
    const start = performance.now();
    const encoder = device.gpu.createCommandEncoder();
    evaluator.begin(encoder, 0);
    evaluator.main.encode(encoder);
    encoder.finish();
    times.push(performance.now() - start);
  });
});

afterAll(() => {
  times.sort((a, b) => a - b);
  const median = times[times.length >> 1] ?? Number.NaN;
  console.log(`${((1000 * median) / count).toFixed(1)} µs per dispatch (median of ${times.length} recordings)`);
  evaluator.dispose();
  releaseState(device, state);
  weights.dispose();
  device.dispose();
});
