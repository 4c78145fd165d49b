/**
 * Golden networks with the kernels that real GPUs get (storage buffers, load maps, workgroup memory), which a software
 * adapter would otherwise never run. Shapes stay in a uniform, because here a pipeline costs a second to compile.
 */
import { expect, test } from "vitest";
import { readBack } from "../../src/network/readback.ts";
import { Weights } from "../../src/network/weights.ts";
import { folderSource } from "../../src/node/folder.ts";
import { Evaluation } from "../../src/pipeline/evaluation.ts";
import { evaluate } from "../../src/pipeline/forward.ts";
import { openModel } from "../../src/pipeline/model.ts";
import { Turns } from "../../src/pipeline/turns.ts";
import { strict } from "../../src/runtime/finite.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { toChannelsLast } from "../../src/runtime/layout.ts";
import { timestepSinusoid } from "../../src/sampler/embedding.ts";
import { createState, Evaluator, releaseState } from "../../src/unet/evaluator.ts";
import { lowerNetwork } from "../../src/unet/lowered.ts";
import { nmse, randomTensor } from "../reference/tensor.ts";
import { testDevice } from "../support/gpu.ts";
import { goldenPath, load, readEvaluation } from "../support/models.ts";

const target: Target = { shapes: "uniform", storage: "buffer", lanes: 0, software: false };

for (const name of ["models/ddpm/io", "models/sd1/io_odd"])
  test(name, async () => {
    const device = await testDevice();
    const model = await openModel(folderSource(goldenPath(name.replace(/\/io.*/, ""))));
    const { inputs, output } = await readEvaluation(goldenPath(`${name}.safetensors`));
    const [, , height, width] = output.shape as [number, number, number, number];
    const lowered = lowerNetwork(model.config, target, {
      size: { height, width },
      dtype: "f32",
      timesteps: "image",
      contextLength: inputs.context?.shape[1],
    });
    const weights = await Weights.load(device, target, lowered.weights, model.checkpoint, {});
    const timestepVectors = (_: string, timesteps: readonly number[]) =>
      Float32Array.from(
        timesteps.flatMap((t) => [...timestepSinusoid(t, model.config.time.inputs, model.config.time)]),
      );
    const turns = new Turns(name, device);
    const lower = () => lowered;
    const loaded = { device, model, weights, classTable: null, judge: strict, turns, lower, timestepVectors };
    const result = await evaluate(new Evaluation(loaded, inputs));
    weights.dispose();
    expect(nmse(result.data, output.data)).toBeLessThanOrEqual(1e-10);
  });

test("a sample in two parts gives what it gives in one", async () => {
  const device = await testDevice();
  const folder = goldenPath("concat/inpaint");
  const random = (...shape: number[]) => ({ shape, data: Float32Array.from(randomTensor(shape, 1).data) });
  const [sample, context] = [random(1, 9, 8, 8), random(1, 2, 6)];
  using pipe = await load(folder);
  const { data } = await pipe.network.forward({ sample, timestep: [500], context });
  const { config, checkpoint } = pipe.model;
  const size = { height: 8, width: 8 };
  const init = { size, dtype: "f32", timesteps: "step", contextLength: 2, concat: 5 } as const;
  const lowered = lowerNetwork(config, target, init);
  const weights = await Weights.load(device, target, lowered.weights, checkpoint, {});
  const state = createState(device, lowered, 1);
  const evaluator = await Evaluator.create(device, lowered, weights, state, {
    batch: 1,
    evaluations: 1,
    timesteps: Float32Array.from(timestepSinusoid(500, config.time.inputs, config.time)),
    context: context.data,
    concat: sample.data.subarray(4 * 64),
  });
  device.gpu.queue.writeBuffer(
    state.x.object as GPUBuffer,
    0,
    toChannelsLast(sample.data.subarray(0, 4 * 64), 1, 4, 64),
  );
  const encoder = device.gpu.createCommandEncoder();
  evaluator.begin(encoder, 0);
  evaluator.main.encode(encoder);
  device.submit([encoder.finish()]);
  const output = await readBack(device, lowered.network.output, state.output, 1);
  evaluator.dispose();
  releaseState(device, state);
  weights.dispose();
  expect(nmse(output.data, data)).toBeLessThanOrEqual(1e-10);
});
