/** Latent models put together from golden networks and autoencoders, in memory. */
import { readFileSync } from "node:fs";
import { type MemorySource, memorySource, rawSafetensors } from "../weights/memory-source.ts";
import { goldenPath, readFolder, type SafetensorsHeader, splitSafetensors } from "./models.ts";

const inFolder = (folder: string, files: Record<string, Uint8Array>) =>
  Object.fromEntries(Object.entries(files).map(([path, data]) => [`${folder}/${path}`, data]));

/** A golden network and the golden autoencoder `part` (vae/ or vqvae/), with the scheduler of Stable Diffusion 1. */
export function latentModel(
  network: string,
  part: "kl" | "vq",
  changes: Record<string, string | Uint8Array> = {},
): MemorySource {
  const stage = Object.entries(readFolder(goldenPath(`autoencoders/${part}`))).filter(([path]) => path.includes("/"));
  return memorySource({
    ...inFolder("unet", readFolder(goldenPath(`models/${network}/unet`))),
    ...Object.fromEntries(stage),
    ...inFolder("scheduler", readFolder(goldenPath("models/sd1/scheduler"))),
    ...changes,
  });
}

/** latent-diffusion's class-conditional model in one file: the network with its class embedder, and the first stage. */
export function cin256(): MemorySource {
  const header: SafetensorsHeader = {};
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const file of ["latents/cin256/unet.safetensors", "autoencoders/ldm-cin256/model.safetensors"]) {
    const { header: own, data } = splitSafetensors(new Uint8Array(readFileSync(goldenPath(file))));
    for (const [name, { dtype, shape, data_offsets }] of Object.entries(own)) {
      if (name === "__metadata__" || header[name]) continue;
      const bytes = data.subarray(...(data_offsets as [number, number]));
      header[name] = { dtype, shape, data_offsets: [at, at + bytes.length] };
      parts.push(bytes);
      at += bytes.length;
    }
  }
  return memorySource({
    "model.safetensors": rawSafetensors(header, Buffer.concat(parts)),
    "config.yaml": readFileSync(goldenPath("latents/cin256/config.yaml")),
  });
}
