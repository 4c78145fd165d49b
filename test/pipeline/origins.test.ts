/** The originals' networks and samplers: outputs, modules' outputs and whole runs against their own code's. */
import { describe, expect, test } from "vitest";
import type { NodeLoadOptions } from "../../src/node/index.ts";
import type { Tensor } from "../../src/pipeline/types.ts";
import { sample } from "../../src/sampler/sample.ts";
import { makeSchedule } from "../../src/sampler/schedule.ts";
import { nmse } from "../reference/tensor.ts";
import { goldenPath, load, readEvaluation, readFolder, readTensors, splitSafetensors } from "../support/models.ts";
import { memorySource, rawSafetensors } from "../weights/memory-source.ts";

const ADM = goldenPath("origin/guided-adm-legacy");
const LIMIT = { f32: 1e-10, f16: 2e-5 } as const;

/** The modules' outputs that a golden file has, by module. */
async function readTaps(path: string): Promise<Record<string, Tensor>> {
  const taps = Object.entries(await readTensors(path)).filter(([name]) => name.startsWith("taps/"));
  return Object.fromEntries(taps.map(([name, tensor]) => [name.slice(5), tensor]));
}

/** The error of one evaluation of the ADM golden's inputs. */
async function error(source: Parameters<typeof load>[0], options: NodeLoadOptions = {}): Promise<number> {
  const { inputs, output } = await readEvaluation(`${ADM}/io.safetensors`);
  using pipe = await load(source, options);
  return nmse((await pipe.network.forward(inputs)).data, output.data);
}

describe.each(["guided-adm-legacy", "ddim-small"])("%s", (name) => {
  const folder = goldenPath(`origin/${name}`);

  test.each(["f32", "f16"] as const)(
    "outputs, and those of modules under the checkpoint's names, %s",
    async (dtype) => {
      const { inputs, output } = await readEvaluation(`${folder}/io.safetensors`);
      const golden = await readTaps(`${folder}/io.safetensors`);
      expect(Object.keys(golden).length).toBeGreaterThan(5);
      using pipe = await load(folder, { dtype });
      const plain = await pipe.network.forward(inputs);
      expect(plain.shape).toEqual(output.shape);
      expect(nmse(plain.data, output.data)).toBeLessThanOrEqual(LIMIT[dtype]);
      const tapped = await pipe.network.taps(inputs, { modules: ["no.such.module", ...Object.keys(golden)] });
      expect(nmse(tapped.output.data, output.data)).toBeLessThanOrEqual(LIMIT[dtype]);
      expect(Object.keys(tapped.taps).sort()).toEqual(Object.keys(golden).sort());
      for (const [module, { shape, data }] of Object.entries(golden)) {
        expect(tapped.taps[module]?.shape, module).toEqual(shape);
        expect(nmse(tapped.taps[module]?.data as Float32Array, data), module).toBeLessThanOrEqual(LIMIT[dtype]);
      }
    },
  );

  test("all modules' outputs at once leave nothing behind", async () => {
    const { inputs, output } = await readEvaluation(`${folder}/io.safetensors`);
    const golden = await readTaps(`${folder}/io.safetensors`);
    using pipe = await load(folder);
    await pipe.network.forward(inputs);
    const before = pipe.device.counters.liveBytes;
    const { output: own, taps } = await pipe.network.taps(inputs);
    expect(pipe.device.counters.liveBytes).toBe(before);
    expect(nmse(own.data, output.data)).toBeLessThanOrEqual(LIMIT.f32);
    const known = Object.entries(golden).filter(([module]) => module in taps);
    expect(known.length).toBeGreaterThan(3);
    for (const [module, { data }] of known)
      expect(nmse(taps[module]?.data as Float32Array, data), module).toBeLessThanOrEqual(LIMIT.f32);
  });
});

/** The ADM golden's tensors renamed, and the values of some rearranged. */
function rearranged(
  rename: (name: string) => readonly string[],
  values: (name: string, data: Uint8Array, rowBytes: number) => Uint8Array = (_, data) => data,
): Uint8Array {
  const { header, data } = splitSafetensors(readFolder(ADM)["model.safetensors"] as Uint8Array);
  const parts: Uint8Array[] = [];
  const own: typeof header = {};
  let at = 0;
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const bytes = data.subarray(...(data_offsets as [number, number]));
    for (const newName of rename(name)) {
      own[newName] = { dtype, shape, data_offsets: [at, at + bytes.length] };
      parts.push(values(newName, bytes, bytes.length / (shape[0] as number)));
      at += bytes.length;
    }
  }
  const all = new Uint8Array(at);
  let to = 0;
  for (const part of parts) {
    all.set(part, to);
    to += part.length;
  }
  return rawSafetensors(own, all);
}

const flags = () => JSON.parse(new TextDecoder().decode(readFolder(ADM)["config.json"]));

describe("the same network, written down otherwise", () => {
  test("with all of q before all of k and v", async () => {
    const [heads, rows] = [2, 16];
    const reordered = rearranged(
      (name) => [name],
      (name, data, row) => {
        if (!name.includes(".qkv.")) return data;
        const block = rows * row;
        const at = (part: number, head: number) =>
          data.subarray((3 * head + part) * block, (3 * head + part + 1) * block);
        const out = new Uint8Array(data.length);
        for (let part = 0; part < 3; part++)
          for (let head = 0; head < heads; head++) out.set(at(part, head), (part * heads + head) * block);
        return out;
      },
    );
    const folder = (order: boolean) =>
      memorySource({
        "config.json": JSON.stringify({ ...flags(), use_new_attention_order: order }),
        "model.safetensors": reordered,
      });
    expect(await error(folder(true))).toBeLessThanOrEqual(LIMIT.f32);
    expect(await error(folder(false))).toBeGreaterThan(1e-4);
  });

  test("as latent-diffusion has it, in YAML, with a moving average beside the plain weights", async () => {
    const yaml = `
      model:
        base_learning_rate: 1.0e-06
        target: ldm.models.diffusion.ddpm.LatentDiffusion
        params:
          linear_start: 0.0015 # of the square roots
          linear_end: 0.0195
          cond_stage_config: __is_unconditional__
          first_stage_config: {target: ldm.models.autoencoder.IdentityFirstStage}
          unet_config:
            target: ldm.modules.diffusionmodules.openaimodel.UNetModel
            params: {image_size: 16, in_channels: 3, out_channels: 6, model_channels: 32, num_res_blocks: 1, num_classes: 1000,
              attention_resolutions: [2], channel_mult: [1, 1], num_head_channels: 16, resblock_updown: true,
              use_scale_shift_norm: true}`;
    const ema = (name: string) => `model_ema.diffusion_model${name.replaceAll(".", "")}`;
    const weights = rearranged(
      (name) => [`model.diffusion_model.${name}`, ema(name)],
      (name, data) => (name.startsWith("model_ema.") ? data : data.map(() => 0)),
    );
    const source = memorySource({ "config.yaml": yaml, "model.safetensors": weights });
    const { parseYaml } = await import("../../src/node/model.ts");
    expect(await error(source as never, { weights: "ema", parseYaml })).toBeLessThanOrEqual(LIMIT.f32);
    expect(await error(source as never, { parseYaml })).toBe(1);
  });
});

describe("whole runs of the originals' samplers", () => {
  test("guided-diffusion's ddim_sample_loop, by generate and around pipe.network.forward", async () => {
    const golden = await readTensors(`${ADM}/pipeline.safetensors`);
    const { x_T, class_labels, timesteps, x_final_f64 } = golden as Record<string, Tensor>;
    const classes = [...(class_labels as Tensor).data];
    const options = { spacing: "ddim25", compat: "openai" } as const;
    using pipe = await load(ADM);
    const visited: number[] = [];
    const { samples } = await pipe.generate({ noise: x_T, classes, ...options, onStep: ({ t }) => visited.push(t) });
    expect(visited).toEqual([...(timesteps as Tensor).data]);
    expect(nmse(samples.data, (x_final_f64 as Tensor).data)).toBeLessThanOrEqual(1e-9);
    const shape = x_T?.shape as [number, number, number, number];
    const own = await sample({
      device: pipe.device,
      schedule: makeSchedule({ ...pipe.model.scheduler, ...options }),
      shape,
      xT: (x_T as Tensor).data,
      denoise: async (data, timestep) =>
        (await pipe.network.forward({ sample: { shape, data }, timestep, classLabels: classes })).data,
    });
    expect(nmse(own.x, samples.data)).toBeLessThanOrEqual(1e-12);
  });
});
