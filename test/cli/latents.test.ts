/** Latent models on the command line: folders of a network and a first stage, contexts from files. */
import { cpSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { encodePng } from "../../src/image/png.ts";
import { readPng } from "../../src/node/png.ts";
import { encodeSafetensors } from "../../src/weights/encode.ts";
import { nmse } from "../reference/tensor.ts";
import { ddim, scratchFolder } from "../support/cli.ts";
import { goldenPath, readTensors } from "../support/models.ts";

const scratch = scratchFolder();
const model = join(scratch, "sd");
const golden = goldenPath("latents/sd1.safetensors");
const path = (name: string) => join(scratch, name);

beforeAll(() => {
  cpSync(goldenPath("models/sd1"), model, { recursive: true });
  cpSync(goldenPath("autoencoders/kl"), model, { recursive: true });
});

async function works(args: readonly string[]): Promise<string> {
  const { code, stderr, stdout } = await ddim(args);
  expect(code, stderr).toBe(0);
  return stdout;
}

test("sample: a context and its negative from a file, images and latents in one, which decode to the same", async () => {
  const told = ["--context", golden, "--guidance", "2.5", "-S", "5"];
  await works(["sample", "-m", model, ...told, "--noise", golden, "-o", path("out.safetensors")]);
  const out = await readTensors(path("out.safetensors"));
  const { images, latents } = await readTensors(golden);
  expect(nmse(out.latents!.data, latents!.data)).toBeLessThanOrEqual(1e-9);
  expect(nmse(out.images!.data, images!.data)).toBeLessThanOrEqual(1e-9);
  await works(["decode", "-m", model, path("out.safetensors"), "-o", path("decoded.safetensors")]);
  const decoded = await readTensors(path("decoded.safetensors"));
  expect(nmse(Object.values(decoded)[0]!.data, out.images!.data)).toBeLessThan(1e-10);
});

test("sample: as many pictures as contexts, previews of latents beside them, within a memory limit", async () => {
  const own = ["--context", golden, "-S", "2", "--seed", "3", "--scale", "1", "--memory", "64M"];
  const stdout = await works([
    "sample",
    "-m",
    model,
    ...own,
    "--save-steps",
    path("steps"),
    "-o",
    path("x-%d.png"),
    "--json",
  ]);
  expect(JSON.parse(stdout).images).toEqual([path("x-0.png"), path("x-1.png")]);
  const { width, height } = await readPng(path("x-1.png"));
  expect([width, height]).toEqual([64, 64]);
  const steps = readdirSync(path("steps"));
  expect(steps).toHaveLength(2);
  const preview = await readPng(join(path("steps"), steps[0]!));
  expect(preview.height).toBe(64);
  const { stdout: told } = await ddim(["inspect", path("x-1.png")]);
  expect(told).toContain(`--context ${golden}`);
});

test("invert, edit: images go through the encoder", async () => {
  const data = Uint8ClampedArray.from({ length: 64 * 64 * 4 }, (_, i) => (i * 7) % 256);
  writeFileSync(path("in.png"), await encodePng({ width: 64, height: 64, data }));
  const context = encodeSafetensors({
    context: { dtype: "F32", shape: [1, 2, 32], data: Float32Array.from({ length: 64 }, (_, i) => Math.sin(i)) },
  });
  writeFileSync(path("context.safetensors"), context);
  const own = ["-m", model, "--context", path("context.safetensors"), "-S", "2"];
  await works(["invert", path("in.png"), ...own, "-o", path("x_T.safetensors")]);
  expect((await readTensors(path("x_T.safetensors"))).x_T?.shape).toEqual([1, 4, 16, 16]);
  await works(["invert", path("in.png"), ...own, "--reconstruct", "--scale", "1", "-o", path("strip.png")]);
  expect((await readPng(path("strip.png"))).width).toBeGreaterThan(3 * 64);
  await works(["edit", path("in.png"), ...own, "--strength", "0.2", "-o", path("edited.safetensors")]);
  expect((await readTensors(path("edited.safetensors"))).images?.shape).toEqual([1, 3, 64, 64]);
});

test.each([
  [["sample", "-S", "2"], 2, /needs a context of shape \[N, L, \d+\]/],
  [["sample", "--context", "nothing.safetensors"], 1, /nothing\.safetensors/],
  [["sample", "--context", goldenPath("latents/ldm.safetensors")], 1, /encoder_hidden_states/],
  [["sample", "--memory", "much"], 2, /number of bytes/],
])("%j is refused", async (args, code, message) => {
  const { code: own, stderr, devices } = await ddim([...args, "-m", model, "-o", path("never.png")]);
  expect(own, stderr).toBe(code);
  expect(stderr).toMatch(message);
  expect(devices).toBe(0);
});
