/** The outputs of autoencoders' modules against the originals', under the checkpoints' own names. */
import { expect, test } from "vitest";
import { Autoencoder } from "../../src/autoencoder/autoencoder.ts";
import { autoencoderTaps } from "../../src/autoencoder/taps.ts";
import { folderSource } from "../../src/node/folder.ts";
import { openAutoencoder } from "../../src/node/model.ts";
import type { Tensor } from "../../src/pipeline/types.ts";
import { nmse } from "../reference/tensor.ts";
import { testDevice } from "../support/gpu.ts";
import { goldenPath, readTensors } from "../support/models.ts";

test.each([
  ["vq", "sample", "latents"],
  ["ldm-kl-f8", "image", "latent"],
])("%s: all modules of both halves, and nothing stays on the GPU", async (name, image, latents) => {
  const folder = goldenPath(`autoencoders/${name}`);
  const golden = await readTensors(`${folder}/io.safetensors`);
  const wanted = Object.keys(golden).filter((key) => key.startsWith("taps/"));
  const modules = wanted.map((key) => key.slice("taps/".length));
  const device = await testDevice();
  using autoencoder = new Autoencoder(await openAutoencoder(folderSource(folder)), device);
  const before = device.counters.liveBytes;
  const encoded = await autoencoderTaps(autoencoder, "encode", golden[image] as Tensor, { modules });
  const decoded = await autoencoderTaps(autoencoder, "decode", golden[latents] as Tensor, { modules });
  expect(device.counters.liveBytes).toBe(before);
  expect([...Object.keys(encoded), ...Object.keys(decoded)].sort()).toEqual(modules.sort());
  for (const [module, { shape, data }] of Object.entries({ ...encoded, ...decoded })) {
    const expected = golden[`taps/${module}`] as Tensor;
    expect(shape, module).toEqual(expected.shape);
    expect(nmse(data, expected.data), module).toBeLessThanOrEqual(1e-10);
  }
  const all = await autoencoderTaps(autoencoder, "encode", golden[image] as Tensor);
  expect(Object.keys(all).length).toBeGreaterThan(Object.keys(encoded).length);
});
