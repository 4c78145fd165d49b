/** Files of tensors that commands take: noise, contexts, inputs of a network, latents. */
import fc from "fast-check";
import { readConcat, readContexts, readForwardInputs, readLatents, readNoise } from "../../../src/cli/tensorFiles.ts";
import { folderSource } from "../../../src/node/folder.ts";
import { openModel } from "../../../src/node/model.ts";
import { conditions } from "../../../src/pipeline/forwardInputs.ts";
import { resolveRun } from "../../../src/pipeline/run.ts";
import type { EncodableTensor } from "../../../src/weights/encode.ts";
import { encodeSafetensors } from "../../../src/weights/encode.ts";
import { splitSafetensors } from "../../support/models.ts";
import { rawSafetensors } from "../../weights/memory-source.ts";
import { onDisk } from "../disk.ts";
import { every, type Target } from "../harness.ts";
import { mutatedBytes, mutatedValues } from "../mutate.ts";

const open = (folder: string) => openModel(folderSource(folder));
const [pixels, attending] = [await open("weights/pixel-avatars-16"), await open("test/golden/models/sd1")];
const width = attending.config.context_dim as number;

const tensor = (...shape: number[]): EncodableTensor => ({
  dtype: "F32",
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => (i % 7) / 7),
});
const seeds = [
  encodeSafetensors({ x_T: tensor(2, 3, 16, 16) }, {}),
  encodeSafetensors({ encoder_hidden_states: tensor(1, 3, width), negative: tensor(1, 3, width) }, {}),
  encodeSafetensors({ sample: tensor(1, 3, 16, 16), timestep: tensor(1), class_labels: tensor(1) }, {}),
];
const parts = seeds.map(splitSafetensors);
const { signal } = new AbortController();

const headers = fc
  .nat(parts.length - 1)
  .chain((i) => mutatedValues([parts[i]!.header]).map((h) => rawSafetensors(JSON.stringify(h), parts[i]!.data)));

/** Numbers that are not finite, or large, in the data. */
const numbers = fc
  .record({
    seed: fc.nat(seeds.length - 1),
    at: fc.nat(),
    bits: fc.constantFrom(0x7fc00000, 0x7f800000, 0xff800000, 1, 0x4e800000),
  })
  .map(({ seed, at, bits }) => {
    const { header, data } = parts[seed]!;
    const copy = data.slice();
    new DataView(copy.buffer).setUint32(4 * (at % (copy.length / 4)), bits, true);
    return rawSafetensors(header, copy);
  });

export const tensors: Target = {
  name: "tensors",
  seeds,
  input: fc.oneof(headers, numbers, mutatedBytes(seeds)),
  read(bytes) {
    const path = onDisk("tensors.safetensors", bytes);
    const run = async (model: typeof pixels, options: object) => {
      const { count, height, contexts, noise } = resolveRun(model, { seed: 1, steps: 2, ...options });
      return [count, height, contexts, noise];
    };
    const contexts = (guided: boolean) => readContexts(path, { model: attending, guided, nonFinite: "error" }, signal);
    return every([
      async () => run(pixels, { noise: await readNoise(path, signal) }),
      async () => run(attending, await contexts(false)),
      async () => run(attending, { guidance: 2, ...(await contexts(true)) }),
      async () => {
        const inputs = await readForwardInputs(path, pixels, "error", signal);
        const network = { classes: { kind: "ids" } } as never;
        return [inputs, conditions({ model: pixels, network, inputs, timestepVectors: () => new Float32Array(1) }, 1)];
      },
      () => readLatents(path, "error", signal),
      () => readConcat(path, { model: pixels, nonFinite: "error" }, signal),
    ]);
  },
};
