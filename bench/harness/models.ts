/** Models of the benchmarks: folders, or configurations with weights from a seed. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ImageSize } from "../../src/network/configReader.ts";
import { folderSource } from "../../src/node/folder.ts";
import { openModel } from "../../src/node/model.ts";
import type { Model } from "../../src/pipeline/model.ts";
import type { Cost } from "../../src/runtime/kernel.ts";
import { buildUNet } from "../../src/unet/build.ts";
import type { ModelRef } from "./protocol.ts";

export const openModelRef = ({ folder, randomWeights }: ModelRef): Promise<Model> =>
  openModel(folderSource(folder), {
    randomWeights: randomWeights === undefined ? undefined : BigInt(randomWeights),
  });

/** A model's network with `factor` times as many channels at every level, for weights from a seed. */
export function widenModel(folder: string, factor: number, target: string): ModelRef {
  const config = JSON.parse(readFileSync(join(folder, "unet/config.json"), "utf8"));
  const channels = (config.block_out_channels as number[]).map((c) => c * factor);
  mkdirSync(target, { recursive: true });
  writeFileSync(join(target, "config.json"), JSON.stringify({ ...config, block_out_channels: channels }));
  return { folder: target, randomWeights: 1 };
}

/** Of one evaluation by the definitions of its layers; bytes: parameters, input and output once, as f32. */
export function networkCost(model: Model, size: ImageSize, batch: number, contextLength?: number): Cost {
  const network = buildUNet(model.config, {
    size,
    dtype: "f32",
    storage: "buffer",
    timesteps: "image",
    contextLength,
  });
  const count = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
  let flops = 0;
  for (const node of [network.embed, network.context?.graph, network.main].flatMap((graph) => graph?.nodes ?? [])) {
    if (node.op === "conv2d")
      for (const { weight } of node.weights)
        flops += 2 * count(weight.shape) * (count(node.y.shape) / (node.y.shape.at(-1) as number));
    if (node.op === "groupNorm") flops += 10 * count(node.y.shape);
    if (node.op === "attention") {
      const keys = count(node.kv.shape.slice(0, -1));
      flops += 4 * count(node.q.shape.slice(0, -1)) * keys * node.heads * node.headDim;
    }
  }
  const parameters = network.params.reduce((sum, { shape }) => sum + count(shape), 0);
  const ends = count(network.sample.shape) + count(network.output.shape);
  return { flops: flops * batch, bytes: 4 * (parameters + ends * batch) };
}
