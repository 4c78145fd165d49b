/** Autoencoders against diffusers and latent-diffusion: both halves, in float32 and float16. */
import { describe, expect, test } from "vitest";
import { Autoencoder, type Encoding } from "../../src/autoencoder/autoencoder.ts";
import { samplePosterior } from "../../src/autoencoder/posterior.ts";
import { fromSampler, toSampler } from "../../src/autoencoder/scaling.ts";
import { folderSource } from "../../src/node/folder.ts";
import { openAutoencoder } from "../../src/node/model.ts";
import { nmse } from "../reference/tensor.ts";
import { testDevice } from "../support/gpu.ts";
import { goldenPath, readTensors } from "../support/models.ts";

const LIMIT = { f32: 1e-10, f16: 2e-5 };
const folder = (name: string) => goldenPath(`autoencoders/${name}`);

async function load(name: string, dtype: "f32" | "f16" = "f32") {
  const model = await openAutoencoder(folderSource(folder(name)));
  const golden = await readTensors(`${folder(name)}/io.safetensors`);
  const get = (key: string) => {
    const found = golden[key];
    if (!found) throw new Error(`${name} has no ${key}`);
    return found;
  };
  return { model, get, autoencoder: new Autoencoder(model, await testDevice(), { dtype }) };
}

/** Fails on another shape too. */
function close(actual: { shape: readonly number[]; data: Float32Array }, expected: typeof actual, limit: number) {
  expect(actual.shape).toEqual(expected.shape);
  expect(nmse(actual.data, expected.data)).toBeLessThanOrEqual(limit);
}

const latentsOf = (encoding: Encoding) => (encoding.kind === "vq" ? encoding.latents : encoding.mean);

describe.each(["f32", "f16"] as const)("%s", (dtype) => {
  const limit = LIMIT[dtype];

  test.each([
    ["vq", "sample", "latents", "latents"],
    ["ldm-cin256", "image", "encoded", "latent"],
  ])(
    "%s encodes without quantising, and finds the same rows of the codebook",
    async (name, image, encoded, latents) => {
      const { get, autoencoder } = await load(name, dtype);
      using ae = autoencoder;
      close(latentsOf(await ae.encode(get(image))), get(encoded), limit);
      const { image: decoded, indices } = await ae.decode(get(latents));
      close(decoded, get("decoded"), limit);
      const expected = get(name === "vq" ? "indices" : "quantize_indices");
      expect(indices?.shape).toEqual(expected.shape);
      expect([...(indices?.data ?? [])]).toEqual([...expected.data]);
    },
  );

  test("vq decodes latents as they are when told so", async () => {
    const { get, autoencoder } = await load("vq", dtype);
    using ae = autoencoder;
    const { image, indices } = await ae.decode(get("latents"), { quantize: false });
    expect(indices).toBeNull();
    close(image, get("decoded_without_quantize"), limit);
    // Rows of the codebook are their own nearest ones.
    const given = await ae.decode(get("quantized"), { quantize: false });
    close(given.image, get("decoded"), limit);
  });

  test.each([
    ["kl", "sample", "mean", "decoded_mean"],
    ["ldm-kl-f8", "image", "latent", "decoded"],
  ])("%s gives mean and logvar, and decodes", async (name, image, latents, decoded) => {
    const { get, autoencoder } = await load(name, dtype);
    using ae = autoencoder;
    const encoding = await ae.encode(get(image));
    if (encoding.kind !== "kl") throw new Error("no distribution");
    close(encoding.mean, get("mean"), limit);
    close(encoding.logvar, get("logvar"), limit);
    const result = await ae.decode(get(latents));
    close(result.image, get(decoded), limit);
    expect(result.indices).toBeNull();
  });
});

test("a sample of the posterior, and the sampler's scale", async () => {
  const { model, get, autoencoder } = await load("kl");
  using ae = autoencoder;
  const sample = samplePosterior({ mean: get("mean"), logvar: get("logvar") }, get("noise"));
  close(sample, get("posterior_sample"), 1e-12);
  close(toSampler(model.spec, get("mean")), get("scaled_latents"), 1e-12);
  const { image } = await ae.decode(fromSampler(model.spec, get("noise")));
  close(image, get("decoded"), LIMIT.f32);
});

test("images have the same bits at any batch", async () => {
  const { get, autoencoder } = await load("vq");
  using ae = autoencoder;
  const { shape, data } = get("sample");
  const [, c, h, w] = shape as [number, number, number, number];
  const size = c * h * w;
  const order = [1, 0, 1, 1, 0];
  const many = new Float32Array(order.length * size);
  for (const [i, from] of order.entries()) many.set(data.subarray(from * size, (from + 1) * size), i * size);
  const two = latentsOf(await ae.encode({ shape, data }));
  const five = latentsOf(await ae.encode({ shape: [5, c, h, w], data: many }));
  const part = two.data.length / 2;
  for (const [i, from] of order.entries())
    expect(five.data.subarray(i * part, (i + 1) * part)).toEqual(two.data.subarray(from * part, (from + 1) * part));
  const decoded = await ae.decode(five);
  const once = await ae.decode(two);
  expect(decoded.image.data.subarray(0, size)).toEqual(once.image.data.subarray(size));
  expect(decoded.indices?.data.subarray(0, 64)).toEqual(once.indices?.data.subarray(64));
});
