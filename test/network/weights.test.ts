/**
 * Weights apart from image sizes: what a network reads of a checkpoint is read once, whatever sizes, taps and halves it is
 * used for afterwards; and other forms of weights, made of those that are there, are what they are from the checkpoint.
 */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Autoencoder } from "../../src/autoencoder/autoencoder.ts";
import { coderBytes, lowerDecoder, lowerEncoder, ownWeights } from "../../src/autoencoder/coder.ts";
import { parseAutoencoderConfig } from "../../src/autoencoder/config.ts";
import type { CoderNetwork } from "../../src/autoencoder/network.ts";
import { type AutoencoderModel, autoencoderTensors } from "../../src/autoencoder/open.ts";
import { autoencoderTaps } from "../../src/autoencoder/taps.ts";
import { lowerTiles, tiledBytes } from "../../src/autoencoder/tiled.ts";
import { deriveWeights, keepFinal, sourceOf } from "../../src/kernels/derive.ts";
import { loadWeights } from "../../src/kernels/load.ts";
import { targetFor } from "../../src/kernels/target.ts";
import { distinct, isPacked, keyOf, type PackedForm, packed, type Weight } from "../../src/kernels/weights.ts";
import type { ImageSize } from "../../src/network/configReader.ts";
import { moduleOutputs } from "../../src/network/taps.ts";
import { Weights } from "../../src/network/weights.ts";
import { folderSource } from "../../src/node/folder.ts";
import { openAutoencoder, openModel } from "../../src/node/model.ts";
import type { Model } from "../../src/pipeline/model.ts";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import { ownSize, sizeMultiple } from "../../src/pipeline/size.ts";
import type { ForwardInputs, Tensor } from "../../src/pipeline/types.ts";
import type { Capabilities } from "../../src/runtime/capabilities.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import type { GpuArray } from "../../src/runtime/memory.ts";
import { byteSize, type Value } from "../../src/runtime/values.ts";
import type { Network } from "../../src/unet/build.ts";
import { lowerNetwork } from "../../src/unet/lowered.ts";
import { findTaps } from "../../src/unet/taps.ts";
import { withRandomWeights } from "../../src/weights/random.ts";
import { nmse, randomTensor } from "../reference/tensor.ts";
import { testDevice } from "../support/gpu.ts";
import { decodeF32, piecesOf, readValue, rounded } from "../support/gpuTensors.ts";
import { latentModel } from "../support/latents.ts";
import { goldenPath, load, sourceOf as modelOf, shippedPath } from "../support/models.ts";
import { serveFolders } from "../support/staticServer.ts";
import { type MemorySource, memorySource } from "../weights/memory-source.ts";

const random = (shape: readonly number[], seed = 1): Tensor => ({
  shape,
  data: Float32Array.from(randomTensor(shape, seed).data),
});

/** Adapters by their subgroups; the tests' own plays both. */
const ADAPTERS: readonly [string, Partial<Capabilities>][] = [
  ["with lanes", {}],
  ["without lanes", { subgroupSize: 0 }],
];

async function onAdapter<T>(change: Partial<Capabilities>, work: () => Promise<T>): Promise<T> {
  const device = await testDevice();
  const { capabilities } = device;
  Object.assign(device, { capabilities: { ...capabilities, ...change } });
  try {
    return await work();
  } finally {
    Object.assign(device, { capabilities });
  }
}

/** What is read of a source from here on. */
function readsFrom(source: { readonly reads: readonly unknown[] }): () => unknown[] {
  const before = source.reads.length;
  return () => source.reads.slice(before);
}

/** One evaluation of a square of noise of that side. */
function inputsOf({ model }: DiffusionPipeline, side: number): ForwardInputs {
  const { in_channels: channels, context_dim: width } = model.config;
  return {
    sample: random([1, channels, side, side]),
    timestep: [500],
    classLabels: model.classCount > 0 ? [0] : undefined,
    context: width === null ? undefined : random([1, 3, width], 2),
  };
}

/** A model's network at its own size, and lowered for another, with all modules' outputs kept where they are `tapped`. */
function lowerings(model: Model, free: Target, dtype: "f32" | "f16") {
  const init = { size: ownSize(model), dtype, timesteps: "step" } as const;
  const step = lowerNetwork(model.config, free, { ...init, concat: model.concat?.channels }).weights;
  const own = distinct([...step, ...(model.concat ? lowerNetwork(model.config, free, init).weights : [])]);
  const target = keepFinal(free, own);
  const other = (size: ImageSize, timesteps: "step" | "image", tapped: boolean) => {
    const concat = timesteps === "step" ? model.concat?.channels : undefined;
    const pin = (network: Network) => findTaps(network, model.config, model.naming).map(({ value }) => value);
    return lowerNetwork(model.config, target, { size, dtype, timesteps, concat }, tapped ? pin : undefined).weights;
  };
  return { own, target, other };
}

/** The golden autoencoder in wider: in small images software adapters convolve otherwise than in larger ones. */
async function wideAutoencoder(): Promise<MemorySource> {
  const config = JSON.parse(readFileSync(goldenPath("autoencoders/kl/vae/config.json"), "utf8"));
  const json = { ...config, block_out_channels: [64, 64, 64], sample_size: null };
  const files = memorySource({ "config.json": JSON.stringify(json) });
  const made = withRandomWeights(files, "", autoencoderTensors(parseAutoencoderConfig(json, "config.json")), 1n);
  const weights = "diffusion_pytorch_model.safetensors";
  return memorySource({ "config.json": JSON.stringify(json), [weights]: await made.read(weights) });
}

describe.each(ADAPTERS)("nothing is read for another size on software adapters %s:", (_, change) => {
  test.each(["f32", "f16"] as const)("a network of pixels in %s", (dtype) =>
    onAdapter(change, async () => {
      const source = modelOf(shippedPath("pixel-avatars-16"));
      using pipe = await load(source, { dtype });
      const live = pipe.device.counters.liveBytes;
      const reads = readsFrom(source);
      const own = inputsOf(pipe, 16);
      const [plain, tapped] = [await pipe.network.forward(own), await pipe.network.taps(own)];
      expect(nmse(tapped.output.data, plain.data)).toBeLessThanOrEqual(dtype === "f32" ? 1e-10 : 2e-5);
      expect(pipe.device.counters.liveBytes).toBe(live);
      for (const side of [8, 48]) {
        await pipe.generate({ steps: 1, classes: [1], size: { height: side, width: side } });
        await pipe.network.forward(inputsOf(pipe, side));
      }
      await pipe.network.taps(inputsOf(pipe, 48), { modules: ["mid_block"] });
      expect(reads()).toEqual([]);
    }),
  );

  test("a network that takes its input in two parts", () =>
    onAdapter(change, async () => {
      const source = modelOf(goldenPath("concat/inpaint"));
      using pipe = await load(source);
      const reads = readsFrom(source);
      for (const side of [8, 16]) {
        await pipe.network.forward(inputsOf(pipe, side));
        await pipe.network.taps(inputsOf(pipe, side), { modules: ["conv_in"] });
      }
      expect(reads()).toEqual([]);
    }));

  test("a first stage, once a half was used", () =>
    onAdapter(change, async () => {
      const source = latentModel("ddpm", "vq");
      using pipe = await load(source);
      await pipe.encode(random([1, 3, 32, 32]));
      await pipe.decode(random([1, 3, 8, 8]));
      using stage = new Autoencoder(pipe.model.firstStage as AutoencoderModel, pipe.device);
      await stage.encode(random([1, 3, 16, 16]));
      await stage.decode(random([1, 3, 8, 8]), { quantize: false });
      const reads = readsFrom(source);
      await pipe.encode(random([1, 3, 64, 48]));
      await pipe.generate({ steps: 1, size: { height: 64, width: 64 } });
      await stage.decode(random([1, 3, 4, 6]));
      for (const half of ["encode", "decode"] as const) await autoencoderTaps(stage, half, random([1, 3, 16, 24]));
      expect(reads()).toEqual([]);
    }));
});

test("nothing is read for tiles of a decoder that was used on small latents", async () => {
  const device = await testDevice();
  const source = await wideAutoencoder();
  const model = await openAutoencoder(source);
  const choices = { height: 11, width: 28, dtype: "f32", quantize: false, scale: 1, shift: 0 } as const;
  const tiles = lowerTiles(device, model.spec, targetFor(device), choices, Number.POSITIVE_INFINITY);
  const memory = tiledBytes(tiles as NonNullable<typeof tiles>, 1);
  expect(coderBytes(lowerDecoder(model.spec, targetFor(device), choices), 1)).toBeGreaterThan(memory);
  using autoencoder = new Autoencoder(model, device, { memory });
  await autoencoder.decode(random([1, 4, 5, 5]));
  const reads = readsFrom(source);
  await autoencoder.decode(random([1, 4, 11, 28]));
  expect(reads()).toEqual([]);
});

test("nothing is asked of a server for another size", async () => {
  const server = await serveFolders({ "/model": shippedPath("pixel-avatars-16") });
  try {
    using pipe = await load(new URL(`${server.origin}/model`));
    const before = server.requests.length;
    await pipe.network.forward(inputsOf(pipe, 48));
    await pipe.network.taps(inputsOf(pipe, 16));
    expect(server.requests.slice(before)).toEqual([]);
  } finally {
    await server.close();
  }
});

/** What kernels are generated for on adapters of all kinds. */
const TARGETS: readonly Target[] = [
  { shapes: "const", storage: "buffer", lanes: 0, software: false },
  { shapes: "uniform", storage: "buffer", lanes: 0, software: true },
  ...[4, 8].flatMap((lanes): Target[] =>
    [undefined, { conv2d: "gather" } as const, { conv2d: "winograd" } as const].map((methods) => ({
      ...{ shapes: "uniform", storage: "texture", lanes, software: true, storageTextures: 8, methods },
    })),
  ),
];

test.each(["concat/inpaint", "models/ddpm"])("nothing is read for another size on GPUs: %s", async (name) => {
  const device = await testDevice();
  const source = modelOf(goldenPath(name));
  const model = await openModel(source);
  const { own, target, other } = lowerings(model, TARGETS[0] as Target, "f32");
  const weights = await Weights.load(device, target, own.values(), model.checkpoint, { locate: model.naming.locate });
  const reads = readsFrom(source);
  for (const timesteps of ["step", "image"] as const)
    for (const tapped of [false, true]) {
      const wanted = other({ height: 32, width: 16 }, timesteps, tapped);
      const arrays = await weights.arrays(wanted);
      expect(wanted.every(({ value }) => arrays.get(value)?.bytes === byteSize(value, 1))).toBe(true);
    }
  expect(reads()).toEqual([]);
  weights.dispose();
});

const NETWORKS = [
  ...["crawl-tiles-32", "pixel-avatars-16"].map(shippedPath),
  ...["models/ddpm", "models/adm", "models/sdxl", "models/defaults"].map(goldenPath),
  ...["concat/inpaint", "concat/upscale", "corners/learned", "corners/resampling_resnets"].map(goldenPath),
];

/** Every weight is there, or can be made of those that are, or is of no parameter. */
function expectThere(own: ReadonlyMap<string, Weight>, wanted: readonly Weight[]): void {
  const held = [...own.values()].filter(isPacked);
  for (const weight of wanted) {
    const there = own.has(keyOf(weight)) || weight.params.length === 0;
    const made = isPacked(weight) && weight.params.every((_, i) => sourceOf(weight, i, held) !== undefined);
    expect(there || made, weight.value.name).toBe(true);
  }
}

test("whatever any size wants of any network on any target is there, or made of what is there", async () => {
  const models = await Promise.all(NETWORKS.map((folder) => openModel(folderSource(folder))));
  const cases = fc.record({
    model: fc.constantFrom(...models),
    target: fc.constantFrom(...TARGETS),
    dtype: fc.constantFrom("f32", "f16"),
    height: fc.integer({ min: 1, max: 12 }),
    width: fc.integer({ min: 1, max: 12 }),
    timesteps: fc.constantFrom("step", "image"),
    tapped: fc.boolean(),
  });
  const check = fc.property(cases, ({ model, target, dtype, height, width, timesteps, tapped }) => {
    const { own, other } = lowerings(model, target, dtype);
    const multiple = 2 * sizeMultiple(model);
    const size = { height: height * multiple, width: width * multiple };
    expectThere(own, other(size, timesteps, tapped));
    // The own size itself wants nothing else.
    const again = other(ownSize(model), timesteps, false);
    expect(again.filter((weight) => !own.has(keyOf(weight)))).toEqual([]);
  });
  fc.assert(check, { numRuns: 30 });
});

test("so of both halves of an autoencoder", async () => {
  const { spec } = await openAutoencoder(await wideAutoencoder());
  const pin = ({ graph }: CoderNetwork) =>
    moduleOutputs(graph, graph.params(), () => "image").map(({ value }) => value);
  for (const free of TARGETS) {
    const halves = ownWeights(spec, free, "f32");
    const target = keepFinal(free, new Map([...halves.encode, ...halves.decode]));
    for (const side of [2, 12, 24, 64, 80])
      for (const pins of [undefined, pin]) {
        const latents = { height: side, width: side, dtype: "f32", quantize: false, scale: 2, shift: 0 } as const;
        const image = { height: 4 * side, width: 4 * side, dtype: "f32" } as const;
        expectThere(halves.decode, lowerDecoder(spec, target, latents, pins).lowered.weights);
        expectThere(halves.encode, lowerEncoder(spec, target, image, pins).lowered.weights);
      }
  }
});

describe("weights made of others are what they are from the checkpoint", () => {
  /** A convolution over two values and the shortcut of a third and fourth: all forms of its parameters. */
  const parameter = (name: string, ...shape: number[]) => ({ weight: { name, shape }, segments: [10, 6] });
  const own = [parameter("host", 16, 11, 3, 3)];
  const added = [parameter("shortcut", 16, 13, 1, 1)];
  const [wide, narrow] = [
    [6, 5],
    [9, 4],
  ];
  const section = (weights: typeof own, kernel: 1 | 3, segments: readonly number[], first = 0) => ({
    ...{ weights, kernel: [kernel, kernel] as const, segments, first },
  });

  test.each([
    ["f32", "f32"],
    ["f16", "f32"],
    ["f16", "f16"],
  ] as const)("stored in %s, from a file in %s", async (dtype, file) => {
    const device = await testDevice();
    const target = targetFor(device);
    const lanes = target.lanes || 4;
    const form = (sections: Parameters<typeof packed>[1], kind?: PackedForm["kind"]) =>
      packed("test", sections, lanes, { target, dtype }, kind);
    const host = section(own, 3, wide as number[]);
    const both = form([host, section(added, 1, narrow as number[])]);
    const products = form([host], "winograd");
    const params = Object.fromEntries(
      [own, added].flat().map(({ weight: { name, shape } }, i) => {
        const values = randomTensor(shape, i + 1);
        return [name, file === "f16" ? rounded(values, "f16") : values];
      }),
    );
    const fill = (weights: readonly Weight[]) => loadWeights(device, target, weights, piecesOf(params), decodeF32);
    for (const [held, wanted] of [
      [both, form([host])],
      [both, form([section(added, 1, narrow as number[])])],
      [both, form([section(added, 1, [9])])],
      [both, form([section(added, 1, [4], 9)])],
      [both, form([section(own, 3, [11])])],
      [both, form([host], "winograd")],
      [both, form([section(own, 3, [3, 8])], "winograd")],
      [products, form([section(own, 3, [11])], "winograd")],
    ] as const) {
      const there = await fill([held]);
      const expected = await fill([wanted]);
      const sources = new Map([[held, there.get(held.value) as GpuArray]]);
      const made = await deriveWeights(device, target, [wanted], sources);
      const read = (arrays: ReadonlyMap<Value, GpuArray>) =>
        readValue(device, wanted.value, arrays.get(wanted.value) as GpuArray, 1);
      const [actual, direct] = [await read(made), await read(expected)];
      // Products of weights that were rounded to f16 are those of the rounded ones.
      const exact = wanted.form.kind === held.form.kind || dtype === file;
      // Zeros may differ in their sign.
      if (exact) expect([...actual.data].filter((v, i) => v !== direct.data[i])).toEqual([]);
      else expect(nmse(actual.data, direct.data)).toBeLessThanOrEqual(1e-6);
      for (const { object } of [there, expected, made].flatMap((arrays) => [...arrays.values()]))
        device.release(object);
    }
  });

  test("and what is not there is an error that leaves nothing behind", async () => {
    const device = await testDevice();
    const target = targetFor(device);
    const stored = { target, dtype: "f32" } as const;
    const products = packed("test", [section(own, 3, wide as number[])], 4, stored, "winograd");
    const plain = packed("test", [section(own, 3, wide as number[])], 4, stored);
    const there = await loadWeights(
      device,
      target,
      [products],
      piecesOf({ host: randomTensor([16, 11, 3, 3], 1) }),
      decodeF32,
    );
    const { liveBytes } = device.counters;
    const held = new Map([[products, there.get(products.value) as GpuArray]]);
    await expect(deriveWeights(device, target, [plain], held)).rejects.toThrow("test.packed cannot be made of");
    expect(device.counters.liveBytes).toBe(liveBytes);
    for (const { object } of there.values()) device.release(object);
  });
});
