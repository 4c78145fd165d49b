/**
 * Golden networks with the kernels that real GPUs get (storage buffers, load maps, workgroup memory), which a software
 * adapter would otherwise never run. Shapes stay in a uniform, because here a pipeline costs a second to compile.
 */
import { expect, test } from "vitest";
import { WeightStore } from "../../src/network/weights.ts";
import { folderSource } from "../../src/node/folder.ts";
import { evaluate } from "../../src/pipeline/forward.ts";
import { openModel } from "../../src/pipeline/model.ts";
import { strict } from "../../src/runtime/finite.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { timestepSinusoid } from "../../src/sampler/embedding.ts";
import { lowerNetwork } from "../../src/unet/evaluator.ts";
import { nmse } from "../reference/tensor.ts";
import { testDevice } from "../support/gpu.ts";
import { goldenPath, readEvaluation } from "../support/models.ts";

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
    const weights = await WeightStore.load(device, target, lowered.recipes, model.checkpoint, {});
    const timestepRows = (_: string, timesteps: readonly number[]) =>
      Float32Array.from(
        timesteps.flatMap((t) => [...timestepSinusoid(t, model.config.time.inputs, model.config.time)]),
      );
    const result = await evaluate({
      device,
      model,
      lowered,
      weights,
      inputs,
      maxRows: 2,
      check() {},
      judge: strict,
      timestepRows,
    });
    weights.dispose();
    expect(nmse(result.data, output.data)).toBeLessThanOrEqual(1e-10);
  });
