/** Networks of the Annotated Diffusion post and of denoising-diffusion-pytorch against their own code. */
import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { folderSource } from "../../src/node/folder.ts";
import { openModel } from "../../src/pipeline/model.ts";
import type { Tensor } from "../../src/pipeline/types.ts";
import { ConfigError } from "../../src/runtime/errors.ts";
import { openSafetensors } from "../../src/weights/checkpoint.ts";
import { nmse } from "../reference/tensor.ts";
import { goldenPath, load } from "../support/models.ts";
import { memorySource } from "../weights/memory-source.ts";

const FOLDER = goldenPath("denoising");
const names = readdirSync(FOLDER, { withFileTypes: true }).flatMap((entry) =>
  entry.isDirectory() ? [entry.name] : [],
);

const LIMIT = { f32: 1e-10, f16: 2e-5 };

async function readGolden(name: string): Promise<Map<string, Tensor>> {
  const file = await openSafetensors(folderSource(`${FOLDER}/${name}`), "golden.safetensors");
  const read = async (tensor: string) => ({ shape: file.info(tensor).shape, data: await file.read(tensor) });
  const numbers = [...file.tensors.keys()].filter((tensor) => tensor !== "timestep");
  return new Map(await Promise.all(numbers.map(async (tensor) => [tensor, await read(tensor)] as const)));
}

test("no golden is missing", () => {
  expect(names).toHaveLength(7);
});

for (const name of names)
  for (const dtype of ["f32", "f16"] as const)
    test(`${name} ${dtype}`, async () => {
      const golden = await readGolden(name);
      using pipe = await load(`${FOLDER}/${name}`, { dtype });
      const inputs = {
        sample: golden.get("sample") as Tensor,
        timestep: [3, 217],
        selfCondition: golden.get("x_self_cond"),
      };
      const modules = [...golden.keys()].filter((key) => key.startsWith("taps/")).map((key) => key.slice(5));
      const { output, taps } = await pipe.network.taps(inputs, { modules });
      const wanted = new Map([
        ["output", golden.get("output")],
        ...modules.map((m) => [m, golden.get(`taps/${m}`)] as const),
      ]);
      for (const [key, value] of wanted) {
        const made = key === "output" ? output : taps[key];
        expect(made?.shape, key).toEqual(value?.shape);
        expect(nmse(made?.data as Float32Array, value?.data as Float32Array), key).toBeLessThanOrEqual(LIMIT[dtype]);
      }
      // Without the nodes that only taps need.
      const plain = await pipe.network.forward(inputs);
      expect(nmse(plain.data, golden.get("output")?.data as Float32Array)).toBeLessThanOrEqual(LIMIT[dtype]);
    });

/** A golden's folder under another configuration. */
const under = (name: string, config: object) =>
  openModel({
    ...folderSource(`${FOLDER}/${name}`),
    config: async () => ({ source: memorySource({ "config.json": JSON.stringify(config) }), path: "config.json" }),
  });

test("what tensors tell need not be configured, and what they do not is said to be assumed", async () => {
  const { config, warnings } = await under("post-v2-selfcond", { dim: 4, channels: 2 });
  expect(config.in_channels).toBe(4);
  expect(warnings.join("\n")).toMatch(/resnet_block_groups is not given .+: 4 is assumed/);
  expect(warnings.join("\n")).toMatch(/4 heads of 32 channels are assumed/);
  const current = await under("lucidrains-2.3.4", { unet: { dim: 4 } });
  expect(current.warnings.join("\n")).not.toContain("heads");
});

test.each([
  ["lucidrains-2.3.4", { unet: { dim: 4, attn_heads: 0 } }, /attn_heads: expected a whole number from 1/],
  ["post-v2-selfcond", { dim: 4, channels: 2, resnet_block_groups: 3 }, /3 groups do not divide/],
  ["post-v1-gray", { dim: 6, with_time_emb: false }, /with_time_emb/],
  ["post-v1-gray", { dim: 6, colour: 1 }, /colour: unknown key/],
])("%s: %j is refused", async (name, config, message) => {
  await expect(under(name, config)).rejects.toThrow(ConfigError);
  await expect(under(name, config)).rejects.toThrow(message);
});

test("self-conditioned networks are refused to samplers", async () => {
  using pipe = await load(`${FOLDER}/post-v2-selfcond`, {});
  await expect(pipe.generate({ steps: 2, size: { height: 8, width: 8 } })).rejects.toThrow(/self_condition/);
});
