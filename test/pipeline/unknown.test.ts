/** What a model's files hold besides what is known: harmless keys and tensors, unknown ones, and names with something before them. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { openAutoencoder, openModel } from "../../src/node/model.ts";
import type { Model, OpenOptions } from "../../src/pipeline/model.ts";
import { ConfigError, FileError, UsageError, WeightError } from "../../src/runtime/errors.ts";
import { goldenPath, type SafetensorsHeader, sourceOf, splitSafetensors, WEIGHTS } from "../support/models.ts";
import { originSource, readOrigin } from "../support/origins.ts";
import { expectRefusal } from "../support/refusal.ts";
import { type MemorySource, memorySource, rawSafetensors } from "../weights/memory-source.ts";

type Json = Record<string, unknown>;
type Open = (source: MemorySource, options?: OpenOptions) => Promise<Pick<Model, "warnings"> & { config: unknown }>;

/** A folder in memory with one of its JSON files changed; numbers may be what JSON has not. */
async function changed(source: MemorySource, path: string, changes: Json, inside: readonly string[] = []) {
  const names = ["config.json", "model.safetensors", WEIGHTS, "unet/config.json", "vae/config.json"];
  names.push("vae/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json");
  const files: Record<string, Uint8Array | string> = {};
  for (const name of names) if (await source.exists(name)) files[name] = await source.read(name);
  const json: Json = JSON.parse(new TextDecoder().decode(files[path] as Uint8Array));
  let place = json;
  for (const key of inside) place = place[key] as Json;
  Object.assign(place, changes);
  const text = JSON.stringify(json, (_, v) => (typeof v === "number" && !Number.isFinite(v) ? `<${v}>` : v));
  files[path] = text.replace(/"<(-?\w+)>"/g, "$1");
  return memorySource(files);
}

const unet: Open = (source, options) => openModel(source, { firstStage: false, ...options });
const vae: Open = async (source, { unknown } = {}) => {
  const { spec, warnings } = await openAutoencoder(source, { unknown });
  return { config: spec, warnings };
};

const pipeline = () => sourceOf(goldenPath("models/sd1"));
const origin = (name: string) => () => originSource(readOrigin(name));

/** A configuration of every reader: where it is, and in which section keys are read. */
const READERS: Readonly<Record<string, readonly [source: () => MemorySource, path: string, open: Open, ...string[]]>> =
  {
    UNet2DModel: [() => sourceOf(goldenPath("models/noattn")), "unet/config.json", unet],
    UNet2DConditionModel: [pipeline, "unet/config.json", unet],
    scheduler: [pipeline, "scheduler/scheduler_config.json", unet],
    AutoencoderKL: [() => sourceOf(goldenPath("autoencoders/kl")), "vae/config.json", vae],
    ermongroup: [origin("ddim-ch32"), "config.json", unet, "model"],
    openai: [origin("improved-cosine"), "config.json", unet],
    ldm: [origin("ldm-uncond-ema"), "config.json", unet, "model", "params"],
  };

const HARMLESS = [
  ...["decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup"],
  ...["torch_dtype", "_diffusers_version", "_name_or_path", "transformers_version", "architectures"],
];
const anyValue = fc.oneof(
  fc.constantFrom<unknown>(Number.NaN, Infinity, -Infinity, null, true, "text", 0, 1e300),
  fc.array(fc.constantFrom<unknown>(Number.NaN, 1, "a"), { maxLength: 3 }),
);
const harmless = fc.dictionary(fc.constantFrom(...HARMLESS), anyValue);
const harmful = fc.dictionary(fc.stringMatching(/^zz_[a-z]{1,9}$/), anyValue, { minKeys: 1, maxKeys: 4 });

describe("keys of configurations", () => {
  test.each(Object.keys(READERS))("%s: harmless ones mean nothing, unknown ones are refused or told", async (name) => {
    const [source, path, open, ...inside] = READERS[name] as (typeof READERS)[string];
    const plain = await open(source());
    await fc.assert(
      fc.asyncProperty(harmless, harmful, async (good, bad) => {
        expect(await open(await changed(source(), path, good, inside))).toMatchObject({
          config: plain.config,
          warnings: plain.warnings,
        });
        const both = await changed(source(), path, { ...good, ...bad }, inside);
        const error = await open(both).then(
          () => undefined,
          (e: ConfigError) => e,
        );
        expect(error).toBeInstanceOf(ConfigError);
        expect(error?.key).toBe(Object.keys(bad).join(", "));
        expect(error?.message).toMatch(
          /: unknown key.*; --ignore-unknown \(library: unknown: "warn"\) passes over it$/,
        );
        const told = await open(both, { unknown: "warn" });
        expect(told.config).toEqual(plain.config);
        expect(told.warnings).toHaveLength(plain.warnings.length + 1);
        const warning = told.warnings.find((text) => text.includes("unknown key, passed over")) as string;
        for (const key of Object.keys(bad)) expect(warning).toContain(key);
      }),
      { numRuns: 12 },
    );
  });

  test("a number that matters and is not finite is named; one that means nothing is none of our business", async () => {
    const matter: [keyof typeof READERS, string][] = [
      ...["norm_eps", "norm_num_groups", "in_channels", "sample_size", "layers_per_block", "block_out_channels"].map(
        (key): [string, string] => ["UNet2DModel", key],
      ),
      ...["cross_attention_dim", "attention_head_dim", "layers_per_block", "mid_block_scale_factor"].map(
        (key): [string, string] => ["UNet2DConditionModel", key],
      ),
      ...["beta_start", "beta_end", "num_train_timesteps", "steps_offset", "clip_sample_range", "trained_betas"].map(
        (key): [string, string] => ["scheduler", key],
      ),
      ...["scaling_factor", "shift_factor", "latents_mean", "norm_num_groups"].map((key): [string, string] => [
        "AutoencoderKL",
        key,
      ]),
      ...["ch", "ch_mult", "num_res_blocks"].map((key): [string, string] => ["ermongroup", key]),
      ...["image_size", "num_channels", "diffusion_steps", "channel_mult"].map((key): [string, string] => [
        "openai",
        key,
      ]),
      ...["linear_start", "timesteps", "given_betas", "image_size"].map((key): [string, string] => ["ldm", key]),
    ];
    for (const [name, key] of matter)
      for (const value of [Number.NaN, Infinity, -Infinity, [1, Number.NaN]]) {
        const [source, path, open, ...inside] = READERS[name] as (typeof READERS)[string];
        const error = await open(await changed(source(), path, { [key]: value }, inside)).then(
          () => undefined,
          (e: ConfigError) => e,
        );
        expect(error, `${name} ${key} ${value}`).toBeInstanceOf(ConfigError);
        expect(error?.key).toBe(key);
        if (!Array.isArray(value)) expect(error?.message).toContain(String(value));
      }
    const clipped = { lambda_min_clipped: -Infinity, sigma_max: Infinity, noise_sampler_seed: Number.NaN };
    await unet(await changed(pipeline(), "scheduler/scheduler_config.json", clipped));
  });

  test("a folder that diffusers' training scripts saved of the moving average", async () => {
    const state = { decay: 0.9999, inv_gamma: 1, min_decay: 0, optimization_step: 4000, power: 0.75 };
    const config = { ...state, update_after_step: 0, use_ema_warmup: true };
    const source = await changed(sourceOf(goldenPath("models/noattn")), "unet/config.json", config);
    const flat = memorySource({
      "config.json": await source.read("unet/config.json"),
      "diffusion_pytorch_model.safetensors": await source.read(WEIGHTS),
    });
    expect((await openModel(flat)).warnings).toEqual([]);
  });

  test("any other choice than error and warn is none", async () => {
    const options = { unknown: "ignore" as never };
    await expectRefusal(openModel(pipeline(), options), UsageError, /unknown must be error or warn, got ignore/);
    await expectRefusal(openAutoencoder(pipeline(), options), UsageError, /unknown must be error or warn/);
  });

  test("a table of names that is none", async () => {
    for (const id2label of ["NaN", "null", "7", '"a"', "[1]"]) {
      const source = sourceOf(goldenPath("models/noattn"), { "model_index.json": `{"id2label": ${id2label}}` });
      await expectRefusal(openModel(source), ConfigError, /model_index\.json: id2label: expected names/);
    }
  });
});

/** A file of zeros with a header's types and shapes. */
function zeros({ __metadata__: _, ...tensors }: SafetensorsHeader & { __metadata__?: unknown }): Uint8Array {
  let end = 0;
  const entries = Object.entries(tensors).map(([name, { dtype, shape }]) => {
    const begin = end;
    end += shape.reduce((a, b) => a * b, 1) * (dtype === "F32" ? 4 : 1);
    return [name, { dtype, shape, data_offsets: [begin, end] }];
  });
  return rawSafetensors(Object.fromEntries(entries), end);
}

const tensor = (shape: number[], dtype = "F32") => ({ dtype, shape, data_offsets: [0, 0] });

/** The golden network with a header that `change` makes of its own. */
async function openWith(change: (header: SafetensorsHeader) => SafetensorsHeader, options?: OpenOptions) {
  const folder = goldenPath("models/noattn");
  const { header } = splitSafetensors(await sourceOf(folder).read(WEIGHTS));
  return openModel(sourceOf(folder, { [WEIGHTS]: zeros(change(header)) }), options);
}

const prefixed = (prefix: string) => (header: SafetensorsHeader) =>
  Object.fromEntries(
    Object.entries(header)
      .filter(([name]) => name !== "__metadata__")
      .map(([name, entry]) => [prefix + name, entry]),
  );

describe("tensors", () => {
  const NAMED: SafetensorsHeader = {
    "bn.num_batches_tracked": tensor([], "U8"),
    "deep.bn2.num_batches_tracked": tensor([], "U8"),
    "text.position_ids": tensor([1, 77], "U8"),
    "attn.attn_mask": tensor([4, 4]),
    "a.causal_mask": tensor([2, 2], "U8"),
    empty: tensor([0, 3]),
    "b.empty": tensor([3, 0, 2], "U8"),
  };

  test("of named kinds are passed over, with a count of each", async () => {
    const { warnings } = await openWith((header) => ({ ...header, ...NAMED }));
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/tensors that compute nothing are passed over: /);
    for (const part of ["2 num_batches_tracked", "2 attention masks", "1 position_ids", "2 without values"])
      expect(warnings[0]).toContain(part);
    await fc.assert(
      fc.asyncProperty(fc.subarray(Object.entries(NAMED), { minLength: 1 }), async (some) => {
        const model = await openWith((header) => ({ ...header, ...Object.fromEntries(some) }));
        const counts = [...(model.warnings[0] as string).matchAll(/\b(\d+) /g)].map(([, n]) => Number(n));
        expect(counts.reduce((a, b) => a + b, 0)).toBe(some.length);
      }),
      { numRuns: 20 },
    );
  });

  test("of a whole moving average are passed over, of a part of one they are not", async () => {
    for (const prefix of ["ema.", "ema_model."]) {
      const { warnings, checkpoint } = await openWith((header) => ({
        ...header,
        ...prefixed(prefix)(header),
        [`${prefix}decay`]: tensor([]),
      }));
      const count = (checkpoint.tensors.size + 1) / 2;
      expect(warnings).toEqual([expect.stringContaining(`${count} of a moving average (${prefix}*)`)]);
      const part = openWith((header) => {
        const { [`${prefix}conv_in.bias`]: _, ...rest } = prefixed(prefix)(header);
        return { ...header, ...rest };
      });
      await expectRefusal(part, WeightError, /unexpected ema.*more; --ignore-unknown/);
    }
    const lit = await openWith((header) => {
      const copy = Object.entries(header).filter(([name]) => name !== "__metadata__");
      return { ...header, ...Object.fromEntries(copy.map(([k, v]) => [`model_ema.${k.replaceAll(".", "")}`, v])) };
    });
    expect(lit.warnings).toEqual([expect.stringContaining("of a moving average (model_ema.*)")]);
  });

  test.each([
    ["model.", "ema.", ""],
    ["module.", "ema.", "module."],
    ["", "ema.", "model."],
    ["_orig_mod.", "ema_model.", "module.model."],
  ])("of a moving average beside weights that begin with %j, as %j and %j", async (prefix, average, inner) => {
    const { warnings, checkpoint } = await openWith((header) => ({
      ...prefixed(prefix)(header),
      ...prefixed(average + inner)(header),
      [`${average}decay`]: tensor([]),
    }));
    const count = (checkpoint.tensors.size + 1) / 2;
    expect(warnings).toEqual([
      ...(prefix === ""
        ? []
        : [expect.stringContaining(`every name but a moving average's begins with ${prefix}, which is left out`)]),
      expect.stringContaining(`${count} of a moving average (${average}*)`),
    ]);
  });

  test("that nothing here uses: three are named, and the way out, which lists them", async () => {
    const extra = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`zz.${i}`, tensor([1])]));
    const add = (header: SafetensorsHeader) => ({ ...header, ...NAMED, ...extra });
    const error = await openWith(add).catch((e: WeightError) => e);
    expect(error).toBeInstanceOf(WeightError);
    expect((error as WeightError).unexpected).toHaveLength(40);
    expect((error as WeightError).message).toMatch(
      /unexpected zz\.0, zz\.1, zz\.2, … and 37 more; --ignore-unknown \(library: unknown: "warn"\) passes over unexpected ones$/,
    );
    const { warnings } = await openWith(add, { unknown: "warn" });
    expect(warnings).toHaveLength(2);
    expect(warnings[1]).toMatch(/: 40 tensors that nothing here uses are passed over: zz\.0, .* and 28 more$/);
  });

  test("that are missing or of another shape stay errors, whatever is passed over", async () => {
    const broken = openWith(
      (header) => {
        const { "conv_in.bias": _, ...rest } = header;
        return { ...rest, "conv_out.bias": tensor([7]), zz: tensor([1]) };
      },
      { unknown: "warn" },
    );
    await expectRefusal(
      broken,
      WeightError,
      /missing conv_in\.bias; wrong shape conv_out\.bias \[7\] \(expected \[2\]\)$/,
    );
  });

  test("of eight bits: one sentence that names the type", async () => {
    for (const dtype of ["F8_E4M3", "F8_E5M2", "I8"]) {
      const small = openWith((header) =>
        Object.fromEntries(Object.entries(header).map(([name, { shape }]) => [name, tensor(shape ?? [], dtype)])),
      );
      const error = await small.catch((e: Error) => e);
      expect(error).toBeInstanceOf(FileError);
      expect((error as Error).message).toContain(`of its weights as ${dtype}, `);
      expect((error as Error).message.length).toBeLessThan(250);
    }
  });

  test("that are none", async () => {
    await expectRefusal(
      openWith(() => ({})),
      FileError,
      /safetensors: holds no tensors$/,
    );
  });
});

describe("what stands before every name", () => {
  test("is left out and told, in any combination", async () => {
    const plain = await openWith((header) => header);
    const wrapper = fc.constantFrom("module.", "_orig_mod.", "unet.", "model.");
    await fc.assert(
      fc.asyncProperty(fc.array(wrapper, { minLength: 1, maxLength: 3 }), async (wrappers) => {
        const prefix = wrappers.join("");
        const { checkpoint, config, warnings, layout } = await openWith(prefixed(prefix));
        expect([...checkpoint.tensors.keys()].sort()).toEqual([...plain.checkpoint.tensors.keys()].sort());
        expect({ config, layout }).toEqual({ config: plain.config, layout: plain.layout });
        expect(warnings).toEqual([`model/${WEIGHTS}: every tensor's name begins with ${prefix}, which is left out`]);
      }),
      { numRuns: 20 },
    );
  });

  test("is left alone where a single tensor has it not", async () => {
    const attempt = openWith((header) => ({ ...prefixed("module.")(header), step: tensor([1]) }));
    await expect(attempt).rejects.toThrow(/is in no layout that is known: it has module\./);
  });

  test("names the tensors that are missing as the file would", async () => {
    const attempt = openWith((header) => {
      const { "module.conv_in.bias": _, ...rest } = prefixed("module.")(header);
      return rest;
    });
    await expectRefusal(attempt, WeightError, /missing module\.conv_in\.bias$/);
  });

  test("belongs to latent-diffusion's layout there, and may be before that too", async () => {
    const { config, tensors } = readOrigin("ldm-uncond-ema");
    const network = Object.entries(tensors).filter(([name]) => name.startsWith("model.diffusion_model."));
    for (const prefix of ["", "module.", "model."]) {
      const named = Object.fromEntries(network.map(([name, shape]) => [prefix + name, shape]));
      const model = await openModel(originSource({ config, tensors: named }), { firstStage: false });
      expect(model.layout).toBe("ldm");
      expect(model.warnings).toHaveLength(prefix === "" ? 0 : 1);
      expect(model.checkpoint.prefix).toBe(prefix);
    }
  });

  test("of an autoencoder", async () => {
    const folder = sourceOf(goldenPath("autoencoders/kl"));
    const path = "vae/diffusion_pytorch_model.safetensors";
    const { header, data } = splitSafetensors(await folder.read(path));
    const file = rawSafetensors(prefixed("module.vae.")(header), data);
    const { warnings } = await openAutoencoder(sourceOf(goldenPath("autoencoders/kl"), { [path]: file }));
    expect(warnings).toEqual([expect.stringContaining("begins with module.vae., which is left out")]);
  });
});

describe("files of weights", () => {
  const [dir, base] = ["models/ddpm_sharded", "unet/diffusion_pytorch_model"] as const;
  const shards = () => sourceOf(goldenPath(dir), { [`${base}.safetensors.index.json`]: undefined });
  const other = (name: string, more: Record<string, Uint8Array | string> = {}) => {
    const source = sourceOf(goldenPath("models/noattn"));
    return async () =>
      sourceOf(goldenPath("models/noattn"), {
        [WEIGHTS]: undefined,
        [`unet/${name}`]: await source.read(WEIGHTS),
        ...more,
      });
  };

  test("shards without an index are read together", async () => {
    const indexed = await openModel(sourceOf(goldenPath(dir)));
    const model = await openModel(shards());
    expect([...model.checkpoint.tensors.keys()].sort()).toEqual([...indexed.checkpoint.tensors.keys()].sort());
    expect(model.warnings).toEqual([expect.stringContaining("no index names its shards: all 3 of the set")]);
  });

  test("shards without an index of which one is missing, or two hold the same tensor", async () => {
    const files = (changes: Record<string, Uint8Array | undefined>) =>
      sourceOf(goldenPath(dir), { [`${base}.safetensors.index.json`]: undefined, ...changes });
    for (const missing of ["00001", "00002", "00003"])
      await expectRefusal(
        openModel(files({ [`${base}-${missing}-of-00003.safetensors`]: undefined })),
        FileError,
        new RegExp(`${missing}-of-00003\\.safetensors: this shard is missing; .* is one of its set$`),
      );
    const first = await shards().read(`${base}-00001-of-00003.safetensors`);
    await expectRefusal(
      openModel(files({ [`${base}-00002-of-00003.safetensors`]: first })),
      FileError,
      /00002-of-00003\.safetensors: holds .*, and so does .*00001-of-00003\.safetensors$/,
    );
  });

  test("the only safetensors file is taken, whatever its name, and told", async () => {
    for (const name of ["unet.safetensors", "v1-5-pruned.fp16.safetensors", "epoch=3.safetensors"]) {
      const { warnings } = await openModel(await other(name, { "unet/notes.bin": "" })());
      expect(warnings).toEqual([`model/unet/${name}: taken for the weights, as no other safetensors file lies there`]);
    }
  });

  test("of several with other names none is taken: they are listed", async () => {
    await expectRefusal(
      openModel(await other("a.safetensors", { "unet/b.safetensors": "", "unet/c.txt": "" })()),
      FileError,
      /model\/unet: has several safetensors files, none of them called .*: a\.safetensors, b\.safetensors; name one of them so$/,
    );
  });
});
