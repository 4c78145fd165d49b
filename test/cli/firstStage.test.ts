/** `ddim encode`, `ddim decode`, and `ddim forward` on the halves of autoencoders. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { encodePng } from "../../src/image/png.ts";
import { fromRgbaImages, toRgbaImages } from "../../src/image/samples.ts";
import { readPng } from "../../src/node/png.ts";
import { encodeSafetensors } from "../../src/weights/encode.ts";
import { nmse } from "../reference/tensor.ts";
import { ddim, scratchFolder } from "../support/cli.ts";
import { readTensors } from "../support/models.ts";

const scratch = scratchFolder();
const golden = (name: string) => join("test/golden/autoencoders", name);
const io = (name: string) => readTensors(join(golden(name), "io.safetensors"));

/** A file with one tensor of a golden folder. */
async function input(name: string, from: string, as: string): Promise<string> {
  const { shape, data } = (await io(name))[from]!;
  const path = join(scratch, `${name}-${from}-${as}.safetensors`);
  writeFileSync(path, encodeSafetensors({ [as]: { dtype: "F32", shape, data } }));
  return path;
}

test.each([
  ["vq", "vqvae.encode", "sample", { output: "latents" }],
  ["vq", "vqvae.decode", "latents", { output: "decoded", indices: "indices" }],
  ["kl", "vae.encode", "sample", { mean: "mean", logvar: "logvar" }],
  ["kl", "vae.decode", "mean", { output: "decoded_mean" }],
  // YAML, and 1x1 convolutions for the projections of attention.
  ["ldm-kl-f8", "vae.encode", "image", { mean: "mean", logvar: "logvar" }],
  ["ldm-cin256", "vqvae.decode", "latent", { output: "decoded", indices: "quantize_indices" }],
])("%s: forward --component %s", async (name, component, from, outputs) => {
  const output = join(scratch, `${name}-${component}.safetensors`);
  const args = ["--component", component, "--input", await input(name, from, "sample"), "-o", output, "-q"];
  expect(await ddim(["forward", "-m", golden(name), ...args])).toMatchObject({ code: 0, stdout: "", stderr: "" });
  const [actual, expected] = [await readTensors(output), await io(name)];
  expect(Object.keys(actual).sort()).toEqual(Object.keys(outputs).sort());
  for (const [own, theirs] of Object.entries(outputs)) {
    expect(actual[own]?.shape).toEqual(expected[theirs]?.shape);
    expect(nmse(actual[own]!.data, expected[theirs]!.data)).toBeLessThanOrEqual(own === "indices" ? 0 : 1e-10);
  }
});

test("wrong components are wrong usage, wrong shapes one sentence; neither opens a device", async () => {
  const run = async (component: string, file: string) =>
    ddim([
      "forward",
      "-m",
      golden("kl"),
      "--component",
      component,
      "--input",
      file,
      "-o",
      join(scratch, "no.safetensors"),
    ]);
  const sample = await input("kl", "sample", "sample");
  const other = await run("vqvae.decode", sample);
  expect(other).toMatchObject({ code: 2, devices: 0 });
  expect(other.stderr).toMatch(/--component vqvae.decode: .*describes an AutoencoderKL, which is vae.decode/);
  const unknown = await run("vae", sample);
  expect(unknown).toMatchObject({ code: 2, devices: 0 });
  expect(unknown.stderr).toMatch(/expected one of unet, vae.encode, vae.decode, vqvae.encode, vqvae.decode/);
  const shape = await run("vae.decode", sample);
  expect(shape).toMatchObject({ code: 1, devices: 0 });
  expect(shape.stderr).toMatch(/vae.decode: sample has shape \[2, 3, 32, 32\], expected \[N, 4, H, W\]/);
  expect(existsSync(join(scratch, "no.safetensors"))).toBe(false);
});

test("encode and decode pictures, with the scale that samplers work at", async () => {
  const { sample } = await io("kl");
  const pictures = toRgbaImages(sample!.data, 2, 3, { height: 32, width: 32 });
  const paths: string[] = [];
  for (const [i, picture] of pictures.entries()) {
    paths.push(join(scratch, `in-${i}.png`));
    writeFileSync(paths[i]!, await encodePng(picture));
  }
  const latents = join(scratch, "latents.safetensors");
  const encoded = await ddim(["encode", "-m", golden("kl"), ...paths, "-o", latents, "--json"]);
  expect(encoded.code).toBe(0);
  expect(JSON.parse(encoded.stdout)).toMatchObject({ output: latents, shape: [2, 4, 8, 8], dtype: "f32" });
  const tensors = await readTensors(latents);
  expect(Object.keys(tensors).sort()).toEqual(["latents", "logvar", "mean"]);
  expect(
    nmse(
      tensors.latents!.data,
      tensors.mean!.data.map((v) => v * 0.18215),
    ),
  ).toBeLessThan(1e-12);
  const [bytes, same] = [join(scratch, "bytes.safetensors"), join(scratch, "same.safetensors")];
  writeFileSync(bytes, encodeSafetensors({ sample: { dtype: "F32", ...fromRgbaImages(pictures, 3) } }));
  const forward = ["forward", "-m", golden("kl"), "--component", "vae.encode", "--input", bytes, "-o", same, "-q"];
  expect(await ddim(forward)).toMatchObject({ code: 0 });
  expect((await readTensors(same)).mean).toEqual(tensors.mean);

  const [one, both] = [join(scratch, "a.safetensors"), join(scratch, "b.safetensors")];
  expect(await ddim(["decode", "-m", golden("kl"), latents, "-o", one, "-q"])).toMatchObject({ code: 0, stderr: "" });
  const raw = join(scratch, "raw.safetensors");
  writeFileSync(raw, encodeSafetensors({ sample: { dtype: "F32", ...tensors.mean! } }));
  expect(await ddim(["decode", "-m", golden("kl"), raw, "-o", both, "-q"])).toMatchObject({ code: 0, stderr: "" });
  const [a, b] = [(await readTensors(one)).images!, (await readTensors(both)).images!];
  expect(a.shape).toEqual([2, 3, 32, 32]);
  expect(nmse(a.data, b.data)).toBeLessThanOrEqual(1e-10);

  const pattern = join(scratch, "out-%02d.png");
  const decoded = await ddim(["decode", "-m", golden("kl"), latents, "-o", pattern, "--scale", "1"]);
  expect(decoded.code).toBe(0);
  const [, second] = toRgbaImages(a.data, 2, 3, { height: 32, width: 32 });
  expect(await readPng(join(scratch, "out-01.png"))).toEqual(second);
});

test("decode: --no-quantize, --memory, and what they do not fit", async () => {
  const latents = await input("vq", "latents", "sample");
  const out = join(scratch, "plain.safetensors");
  const args = ["decode", "-m", golden("vq"), latents, "-o", out, "-q", "--overwrite"];
  expect((await ddim([...args, "--no-quantize"])).code).toBe(0);
  const expected = (await io("vq")).decoded_without_quantize!;
  expect(nmse((await readTensors(out)).images!.data, expected.data)).toBeLessThanOrEqual(1e-10);
  const tight = await ddim([...args, "--memory", "1k"]);
  expect(tight).toMatchObject({ code: 1 });
  expect(tight.stderr).toMatch(/latents of 8 × 8 cannot be decoded on this adapter within 0 MiB/);
  expect(await ddim([...args, "--memory", "much"])).toMatchObject({ code: 2, devices: 0 });
  const kl = await ddim([
    "decode",
    "-m",
    golden("kl"),
    await input("kl", "mean", "sample"),
    "-o",
    out,
    "--no-quantize",
  ]);
  expect(kl).toMatchObject({ code: 2, devices: 0 });
  const none = await ddim(["encode", "-m", "test/golden/models/noattn", "x.png"]);
  expect(none).toMatchObject({ code: 1, devices: 0 });
  expect(none.stderr).toMatch(/has no autoencoder/);
});
