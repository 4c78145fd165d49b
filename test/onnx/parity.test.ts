/**
 * Our networks against onnxruntime on what we export of them: every golden network and both shipped models, GroupNorm in
 * both styles, the batch fixed and left open. Two implementations of the same graph that share no code.
 */
import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { toOnnx } from "../../bench/onnx/export.ts";
import { folderSource } from "../../src/node/folder.ts";
import { openModel } from "../../src/pipeline/model.ts";
import type { ForwardInputs } from "../../src/pipeline/types.ts";
import { initialNoise } from "../../src/sampler/philox.ts";
import { nmse } from "../reference/tensor.ts";
import { goldenPath, load, readEvaluation, shippedPath } from "../support/models.ts";
import { evaluateOnnx } from "../support/onnxruntime.ts";

const LIMIT = 1e-10;

async function compare(folder: string, given: ForwardInputs): Promise<void> {
  const model = await openModel(folderSource(folder));
  // A golden of a network without attention has a context all the same.
  const inputs = { ...given, context: model.config.context_dim === null ? undefined : given.context };
  using pipe = await load(folder, { dtype: "f32" });
  const ours = await pipe.network.forward(inputs);
  const [n, , height, width] = inputs.sample.shape as [number, number, number, number];
  for (const [style, batch] of [
    ["expanded", n],
    ["native", null],
  ] as const) {
    const [contextLength, timeIds] = [inputs.context?.shape[1], inputs.timeIds?.shape[1]];
    const onnx = await toOnnx(model, { size: { height, width }, style, batch, contextLength, timeIds });
    const theirs = await evaluateOnnx(onnx, inputs);
    expect(theirs.shape).toEqual(ours.shape);
    expect(nmse(ours.data, theirs.data), style).toBeLessThanOrEqual(LIMIT);
  }
}

describe("golden networks", () => {
  const networks = ["models", "corners"].flatMap((group) =>
    readdirSync(goldenPath(group), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => ({ name, folder: goldenPath(`${group}/${name}`) })),
  );
  for (const { name, folder } of networks)
    test(name, async () => {
      const files = readdirSync(folder).filter((file) => /^io.*\.safetensors$/.test(file));
      expect(files).not.toHaveLength(0);
      for (const file of files) await compare(folder, (await readEvaluation(`${folder}/${file}`)).inputs);
    });
});

describe("shipped models", () => {
  for (const [name, side] of [
    ["pixel-avatars-16", 16],
    ["crawl-tiles-32", 32],
  ] as const)
    test(name, async () => {
      const timestep = [0, 371, 999];
      const pixels = 3 * side * side;
      const data = new Float32Array(timestep.length * pixels);
      for (let i = 0; i < timestep.length; i++) data.set(initialNoise(5n, i, 3, side, side), i * pixels);
      const sample = { shape: [timestep.length, 3, side, side], data };
      await compare(shippedPath(name), { sample, timestep, classLabels: [0, 3, 4] });
    });
});
