/** What holds for every command that makes something: parameters in pictures, the time it took, and true sizes of files. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { openSafetensorsFile } from "../../src/node/folder.ts";
import { readPng } from "../../src/node/png.ts";
import { ddim, scratchFolder } from "../support/cli.ts";

const scratch = scratchFolder();
const at = (name: string) => join(scratch, name);
const SHORT = ["-S", "2", "--spacing", "trailing"];
const [A, B] = [at("in-0.png"), at("in-1.png")];
const UPSCALER = "test/golden/concat/super_resolution";
const VAE = "test/golden/autoencoders/kl";

beforeAll(async () => {
  await ddim(["sample", ...SHORT, "--seed", "1", "-n", "2", "-c", "1", "-o", at("in-%d.png"), "-q"]);
});

const TOOK = /, in \d+\.\d s$/m;

async function parametersOf(path: string) {
  const { stdout, code } = await ddim(["inspect", path, "--json"]);
  expect(code).toBe(0);
  const { parameters, command } = JSON.parse(stdout);
  expect(parameters.command.replace(" --overwrite", "")).toBe(command);
  return parameters;
}

const OF_ALL = ["model", "modelHash", "count", "size", "command", "version"];
const OF_NETWORKS = [...OF_ALL, "seed", "steps", "eta", "sampler", "spacing", "compat", "guidance", "clip", "dtype"];
const OF_RUNS = [...OF_NETWORKS, "precision", "rng", "adapter", "variants"];

test.each([
  ["sample", [...SHORT, "--seed", "3"], OF_RUNS],
  ["sample", ["--sweep", "-S", "1,2", "--seed", "3"], OF_RUNS],
  ["edit", [A, ...SHORT, "--seed", "3", "--strength", "0.7"], OF_RUNS],
  ["interpolate", ["--seeds", "1,2", "-n", "2", ...SHORT], OF_RUNS],
  ["fuse", [A, B, "--mix", ".5", ...SHORT], OF_RUNS],
  ["invert", [A, "--reconstruct", ...SHORT], OF_RUNS],
  ["upscale", [`${UPSCALER}/low.png`, "-m", UPSCALER, "-S", "1"], OF_RUNS],
  ["noise", [A, "-t", "5,500"], [...OF_ALL, "seed", "timesteps"]],
])(
  "%s %j: the picture has its parameters, and stderr says what was written in how long",
  async (command, args, names) => {
    const output = at("made.png");
    const { code, stderr } = await ddim([command, ...args, "-o", output, "--overwrite"]);
    expect(code, stderr).toBe(0);
    expect(stderr).toMatch(TOOK);
    expect(stderr).toContain(`${output}: `);
    const parameters = await parametersOf(output);
    expect(names.filter((name) => parameters[name] === undefined)).toEqual([]);
    expect(parameters.command).toContain(`ddim ${command} `);
  },
);

test("encode and decode, forward and bench forward, which makes its own inputs", async () => {
  const encoded = await ddim(["encode", A, "-m", VAE, "-o", at("latents.safetensors")]);
  expect(encoded.stderr).toMatch(/latents\.safetensors: latents \[1, 4, 4, 4\], in \d+\.\d s\n/);
  const decoded = await ddim(["decode", at("latents.safetensors"), "-m", VAE, "-o", at("d-%d.png")]);
  expect(decoded.stderr).toMatch(/d-0\.png: 1 image of 16 x 16, in \d+\.\d s\n/);
  const parameters = await parametersOf(at("d-0.png"));
  expect(parameters).toMatchObject({ task: "decode", modelHash: expect.any(String), dtype: "f32", count: 1 });
  expect((await readPng(at("d-0.png"))).width).toBe(16);

  const timed = await ddim(["bench", "forward", "--seconds", "0.01", "--json"]);
  expect(timed).toMatchObject({ code: 0, devices: 1 });
  expect(JSON.parse(timed.stdout)).toMatchObject({ ms: expect.any(Number), runs: expect.any(Number), dtype: "f32" });
});

test("files of their own have their true size, unless --scale is given; one picture is enlarged", async () => {
  const width = async (...args: string[]) => {
    const { code, stderr } = await ddim(["sample", "-S", "1", "--seed", "1", "-q", "--overwrite", ...args]);
    expect(code, stderr).toBe(0);
    return (await readPng(args.at(-1)?.replace("%d", "0").replace(/\/$/, "/000.png") as string)).width;
  };
  expect(await width("-o", at("one.png"))).toBe(128);
  expect(await width("-o", at("n-%d.png"))).toBe(16);
  expect(await width("-o", at("folder/"))).toBe(16);
  expect(await width("--scale", "3", "-o", at("n-%d.png"))).toBe(48);
  expect(existsSync(at("folder/000.png"))).toBe(true);
  await ddim(["sample", "-S", "1", "-q", "--seed", "1", "-o", at("t.safetensors")]);
  expect((await openSafetensorsFile(at("t.safetensors"))).info("images").shape).toEqual([1, 3, 16, 16]);
});

test("inspect ends with its summary", async () => {
  const lines = (await ddim(["inspect", "pixel-avatars-16", "-q"])).stdout.trimEnd().split("\n");
  const summary = lines.findIndex((line) => line.startsWith("pixel-avatars-16: UNet2DModel"));
  const tables = lines.findLastIndex((line) => /^(layer|kernel) /.test(line));
  expect(summary).toBeGreaterThan(tables);
  expect(lines.at(-1)).toMatch(/^ +fits bindings/);
  const tensors = await ddim(["inspect", "weights/pixel-avatars-16/unet/diffusion_pytorch_model.safetensors"]);
  expect(tensors.stdout.trimEnd().split("\n").at(-1)).toMatch(/: safetensors, \d+ tensors, /);
});
