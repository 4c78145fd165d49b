/** The published networks of bench/configs: each opens with made-up weights, and has its publisher's number of parameters. */
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { folderSource } from "../../src/node/folder.ts";
import { openModel } from "../../src/pipeline/model.ts";
import { modelHash } from "../../src/pipeline/modelId.ts";
import { elementCount } from "../../src/weights/checkpoint.ts";

const FOLDER = fileURLToPath(new URL("../../bench/configs", import.meta.url));

const parameters: Readonly<Record<string, number>> = {
  "adm-256": 552_814_086,
  "ddpm-cifar10-32": 35_746_307,
  "ddpm-celebahq-256": 113_673_219,
  "ldm-celebahq-256": 274_056_163,
  "cin256-v2": 400_920_579,
  "stable-diffusion-v1-5": 859_520_964,
};

for (const [name, count] of Object.entries(parameters))
  test(name, async () => {
    const source = folderSource(`${FOLDER}/${name}`);
    const model = await openModel(source, { randomWeights: 1n });
    expect([...model.checkpoint.tensors.values()].reduce((sum, tensor) => sum + elementCount(tensor), 0)).toBe(count);
    expect(model.scheduler?.num_train_timesteps).toBe(1000);
    const hashes = await Promise.all(
      [1n, 1n, 2n].map(async (seed) => modelHash(await openModel(source, { randomWeights: seed }))),
    );
    expect(hashes[0]).toBe(hashes[1]);
    expect(hashes[0]).not.toBe(hashes[2]);
  });
