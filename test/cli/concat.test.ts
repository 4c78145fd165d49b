/** Networks that read more than their state on the command line: pictures go in, or what they are made of. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { encodeSafetensors } from "../../src/weights/encode.ts";
import { nmse } from "../reference/tensor.ts";
import { ddim, scratchFolder } from "../support/cli.ts";
import { goldenPath, readTensors } from "../support/models.ts";

const scratch = scratchFolder();
const path = (name: string) => join(scratch, name);
const folder = (name: string, ...file: string[]) => join(goldenPath(`concat/${name}`), ...file);

/** The images of a command that writes safetensors. */
async function images(...args: string[]): Promise<Float32Array> {
  const output = path("out.safetensors");
  const { code, stderr } = await ddim([...args, "-S", "4", "-q", "--overwrite", "-o", output]);
  expect(code, stderr).toBe(0);
  return (await readTensors(output)).images!.data;
}

const expected = async (name: string, run = "run") => (await readTensors(folder(name, `${run}.safetensors`))).images!;

/** The latents that the last command wrote beside its images, against the golden's first image. */
async function latentsError(name: string): Promise<number> {
  const [made, golden] = await Promise.all([
    readTensors(path("out.safetensors")),
    readTensors(folder(name, "run.safetensors")),
  ]);
  const { shape, data } = made.latents!;
  expect(shape).toEqual([1, ...golden.latents!.shape.slice(1)]);
  return nmse(data, golden.latents!.data.subarray(0, data.length));
}
const told = (name: string) => ["--context", folder(name, "context.safetensors"), "--guidance", "2.5"];

test("sample --concat: the tensor of that name, or the only one; each picture as diffusers makes it", async () => {
  const run = folder("inpaint", "run.safetensors");
  const { concat } = await readTensors(run);
  writeFileSync(path("only.safetensors"), encodeSafetensors({ anything: { dtype: "F32", ...concat! } }));
  const golden = (await expected("inpaint")).data;
  for (const file of [run, path("only.safetensors")]) {
    const made = await images("sample", "-m", folder("inpaint"), ...told("inpaint"), "--noise", run, "--concat", file);
    expect(nmse(made, golden)).toBeLessThan(1e-8);
  }
});

test("edit with a mask", async () => {
  const [model, picture, mask] = [folder("inpaint"), folder("inpaint", "image.png"), folder("inpaint", "mask.png")];
  const golden = (await expected("inpaint")).data;
  const made = await images("edit", picture, "-m", model, "--mask", mask, ...told("inpaint"), "--seed", "7");
  expect(nmse(made, golden.subarray(0, golden.length / 2))).toBeLessThan(1e-8);
  expect(await latentsError("inpaint")).toBeLessThan(1e-8);
});

test("upscale, with and without a noise level", async () => {
  const enlarge = (name: string, ...args: string[]) =>
    images("upscale", folder(name, "low.png"), "-m", folder(name), "--seed", "7", ...args);
  expect(nmse(await enlarge("super_resolution"), (await expected("super_resolution")).data)).toBeLessThan(1e-8);
  const upscaled = await enlarge("upscale", "--noise-level", "30", ...told("upscale"));
  expect(nmse(upscaled, (await expected("upscale")).data)).toBeLessThan(1e-8);
  expect(await latentsError("upscale")).toBeLessThan(1e-8);
});

test("sample --guidance of a network that takes the scale itself", async () => {
  const [name, run] = ["guidance_embedding", folder("guidance_embedding", "run-w4.5.safetensors")];
  const context = ["--context", folder(name, "context.safetensors")];
  const made = await images("sample", "-m", folder(name), ...context, "--guidance", "4.5", "--noise", run);
  expect(nmse(made, (await expected(name, "run-w4.5")).data)).toBeLessThan(1e-8);
});

test.each([
  [
    "sample",
    ["sample", "-m", folder("inpaint")],
    /5 that are missing, a mask and the latents.*ddim edit.*--concat FILE/,
  ],
  ["edit without a mask", ["edit", folder("inpaint", "image.png"), "-m", folder("inpaint")], /5 that are missing/],
  ["sample", ["sample", "-m", folder("super_resolution")], /3 that are missing, a low-resolution picture.*upscale/],
  ["invert", ["invert", folder("inpaint", "image.png"), "-m", folder("super_resolution")], /3 that are missing/],
  ["interpolate", ["interpolate", "--seeds", "1,2", "-m", folder("super_resolution")], /3 that are missing/],
  ["eval", ["eval", folder("inpaint", "image.png"), "-m", folder("super_resolution")], /3 that are missing/],
  ["a concat too many", ["sample", "--concat", "none.safetensors"], /takes nothing beside its state/],
  ["a context too many", ["sample", "--context", "none.safetensors"], /attends to no context and takes none/],
  ["other channels", ["upscale", folder("upscale", "low.png"), "-m", folder("inpaint")], /enlarges no pictures/],
  ["nothing to read", ["upscale", folder("upscale", "low.png")], /enlarges no pictures/],
  [
    "a class for a noise level",
    ["upscale", folder("upscale", "low.png"), "-m", folder("upscale"), "-c", "3"],
    /unknown option '-c'/,
  ],
])("wrong usage without a device: %s", async (_, args, message) => {
  const { code, stderr, devices } = await ddim(args);
  expect({ code, devices }).toEqual({ code: 2, devices: 0 });
  expect(stderr).toMatch(message);
});

test("inspect tells what a network reads beside its state", async () => {
  const { stdout } = await ddim(["inspect", folder("inpaint")]);
  expect(stdout).toContain("latents: 4 channels, 8 x 8");
  expect(stdout).toContain("beside them: 5 channels, a mask and the latents of the masked picture");
});
