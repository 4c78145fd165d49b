/** Every command reads every flag that it takes, and takes no other: what would be ignored exits 2. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createProgram } from "../../src/cli/program.ts";
import { encodePng } from "../../src/image/png.ts";
import { openNodeDevice } from "../../src/node/device.ts";
import { DeviceError } from "../../src/runtime/errors.ts";
import { encodeSafetensors } from "../../src/weights/encode.ts";
import { ddim, scratchFolder } from "../support/cli.ts";

const scratch = scratchFolder();
const at = (name: string) => join(scratch, name);
const tensor = (shape: readonly number[]) => {
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i));
  return { dtype: "F32", shape, data } as const;
};

const stream = { write: () => true, isTTY: false, columns: 100 };
const abort = new AbortController();
const io = { stdout: stream, stderr: stream, env: {}, signal: abort.signal };

/** A network that compiles at once, with made-up weights. */
const MODEL = ["-m", at("model"), "--random-weights", "1"];
const VAE = ["-m", "test/golden/autoencoders/kl"];
const UPSCALER = ["test/golden/concat/super_resolution/low.png", "-m", "test/golden/concat/super_resolution"];
const SHORT = ["-S", "1"];
const [A, B] = [at("a.png"), at("b.png")];

beforeAll(async () => {
  for (const folder of ["unet", "scheduler"]) mkdirSync(at(`model/${folder}`), { recursive: true });
  const unet = {
    ...{ _class_name: "UNet2DModel", sample_size: 8, in_channels: 3, out_channels: 3, layers_per_block: 1 },
    ...{ block_out_channels: [8], norm_num_groups: 4, num_class_embeds: 2, add_attention: false },
    ...{ down_block_types: ["DownBlock2D"], up_block_types: ["UpBlock2D"] },
  };
  writeFileSync(at("model/unet/config.json"), JSON.stringify(unet));
  writeFileSync(at("model/scheduler/scheduler_config.json"), JSON.stringify({ _class_name: "DDIMScheduler" }));
  const picture = { width: 8, height: 8, data: new Uint8ClampedArray(256).map((_, i) => i) };
  for (const path of [A, B]) writeFileSync(path, await encodePng(picture));
  writeFileSync(at("one.pt"), Buffer.from(PICKLE, "base64"));
  const inputs = { sample: tensor([1, 3, 8, 8]), timestep: tensor([1]), class_labels: tensor([1]) };
  writeFileSync(at("in.safetensors"), encodeSafetensors(inputs));
  writeFileSync(at("latents.safetensors"), encodeSafetensors({ latents: tensor([1, 4, 2, 2]) }));
});
afterAll(() => abort.abort());

/** `torch.save({"w": torch.zeros(1)})` in the format before zip files. */
const PICKLE =
  "gAKKCmz8nEb5IGqoUBkugAJN6QMugAJ9cQAoWBAAAABwcm90b2NvbF92ZXJzaW9ucQFN6QNYDQAAAGxpdHRsZV9lbmRpYW5xAohYCgAAAHR5cGVfc2l6" +
  "ZXNxA31xBChYBQAAAHNob3J0cQVLAlgDAAAAaW50cQZLBFgEAAAAbG9uZ3EHSwR1dS6AAn1xAFgBAAAAd3EBY3RvcmNoLl91dGlscwpfcmVidWlsZF90" +
  "ZW5zb3JfdjIKcQIoKFgHAAAAc3RvcmFnZXEDY3RvcmNoCkZsb2F0U3RvcmFnZQpxBFgOAAAAOTQ0ODMwNjM1NzUzNzZxBVgDAAAAY3B1cQZLAU50cQdR" +
  "SwBLAYVxCEsBhXEJiWNjb2xsZWN0aW9ucwpPcmRlcmVkRGljdApxCilScQt0cQxScQ1zLoACXXEAWA4AAAA5NDQ4MzA2MzU3NTM3NnEBYS4BAAAAAAAA" +
  "AAAAAAA=";

const RESULTS = "test/bench/example.results.json";

/** A run of each command with nothing left out that could be read. */
const runs: Readonly<Record<string, readonly string[]>> = {
  sample: [...MODEL, ...SHORT, "-o", at("sample.png")],
  invert: [A, ...MODEL, ...SHORT, "-o", at("invert.png")],
  interpolate: [A, B, ...MODEL, ...SHORT, "-n", "2", "-o", at("interpolate.png")],
  fuse: [A, B, ...MODEL, ...SHORT, "-o", at("fuse.png")],
  edit: [A, ...MODEL, ...SHORT, "--mask", B, "-o", at("edit.png")],
  noise: [A, ...MODEL, "-t", "5", "-o", at("noise.png")],
  eval: [A, ...MODEL, ...SHORT],
  schedule: SHORT,
  encode: [A, ...VAE, "-o", at("encode.safetensors")],
  decode: [at("latents.safetensors"), ...VAE, "-o", at("decode.png")],
  forward: [...MODEL, "--input", at("in.safetensors"), "-o", at("forward.safetensors")],
  inspect: MODEL,
  upscale: [...UPSCALER, ...SHORT, "-o", at("upscaled.png")],
  convert: [at("one.pt"), at("one.safetensors")],
  doctor: [],
  tune: [...MODEL, "--export", at("table.json")],
  "bench forward": [...MODEL, "--input", at("in.safetensors"), "--seconds", "0.01"],
  "bench run": ["--only", "no such workload", "--quick", "--engines", "ddim-webgpu", "-o", at("bench.json")],
  "bench kernels": ["--op", "linear", "--case", "0", "--variant", "own", "--seconds", "0.01"],
  "bench export": [...MODEL, "-o", at("model.onnx")],
  "bench report": [RESULTS],
  "bench compare": [RESULTS, RESULTS],
};

/** What a run that must be short does not come to. */
const UNREACHED: Readonly<Record<string, readonly string[]>> = { "bench run": ["json"] };

/** Every terminal obeys -q, and `run` -v; usage.test.ts has them. */
const EVERYWHERE = ["quiet", "verbose"];

const leaves = (command: Command, path = ""): [string, Command][] =>
  command.commands.length === 0
    ? [[path, command]]
    : command.commands.flatMap((sub) => leaves(sub, `${path} ${sub.name()}`.trim()));

const programFor = (command: string) => {
  // The checks of doctor take long, and read no flag.
  const openDevice = (options: object) =>
    command === "doctor"
      ? Promise.reject(new DeviceError("lost", "enough"))
      : openNodeDevice({ ...options, fast: false });
  return createProgram({ ...io, openDevice }, () => {});
};

const commands = leaves(programFor(""));

test("there is a run of every command", () => {
  expect(Object.keys(runs).sort()).toEqual(commands.map(([path]) => path).sort());
});

test.each(Object.entries(runs))("%s reads every flag that it takes", async (path, args) => {
  const program = programFor(path);
  const [, command] = leaves(program).find(([own]) => own === path) as [string, Command];
  const read = new Set<string>(EVERYWHERE);
  const opts = command.opts.bind(command);
  // Copied whole, the flags would all seem to be read.
  const ownKeys = () => {
    throw new Error("the flags were copied");
  };
  const get = (flags: object, name: string) => {
    if (typeof name === "string") read.add(name);
    return Reflect.get(flags, name);
  };
  command.opts = () => new Proxy(opts(), { get, ownKeys }) as never;
  const error = await program.parseAsync([...path.split(" "), ...args], { from: "user" }).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!["doctor", "bench run"].includes(path)) expect(error).toBeUndefined();
  const taken = [...new Set(command.options.map((option) => option.attributeName()))];
  const needed = taken.filter((name) => !UNREACHED[path]?.includes(name));
  expect(needed.filter((name) => !read.has(name))).toEqual([]);
});

/** Flags of other commands that mean nothing to one. */
const strangers: Readonly<Record<string, string>> = {
  invert: "--eta=1 --sampler=plms --sigma=hat --temperature=2 --seed=1 --guidance=2 --noise=x --trace=x --rng=torch",
  fuse: "--eta=1 --sampler=plms --sigma=hat --temperature=2 --seed=1 --guidance=2 --strength=1 --at=0",
  interpolate: "--guidance=2 --rng=torch --noise=x --trace=x --antithetic --strength=1",
  edit: "--rng=torch --count=2 --noise=x --trace=x",
  noise:
    "--device=7 --dtype=f16 --precision=high --cache=x --steps=3 --eta=1 --class=0 --batch=2 --memory=1G --context=x",
  eval: "--eta=1 --sampler=ddpm --sigma=hat --temperature=2 --threshold=1 --compat=ldm --start=5 --batch=2 --output=x.png",
  schedule: "--device=0 --dtype=f16 --weights=ema --seed=1 --guidance=2 --cache=x --count=2 --output=x",
  encode: "--cache=x --weights=ema --random-weights=1 --steps=3 --seed=1 --scale=2 --memory=1G",
  decode: "--cache=x --weights=ema --random-weights=1 --steps=3 --seed=1 --fit=pad --batch=1",
  forward: "--seed=1 --steps=3 --memory=1G --overwrite --class=1 --batch=1",
  inspect: "--trace=x --steps=3 --output=x --seed=1 --memory=1G",
  upscale: "--class=1 --strength=1 --mask=x --concat=x --noise=x --rng=torch --trace=x",
  convert: "--model=x --dtype=f16 --device=0 --weights=ema --variant=fp16 --output=x --steps=3",
  doctor: "--dtype=f16 --precision=high --cache=x --seed=1",
  tune: "--steps=3 --seed=1 --memory=1G --trace=x --output=x",
  "bench forward": "--steps=3 --output=x --seed=1 --memory=1G",
  "bench kernels": "--model=x --precision=high --cache=x --output=x",
  "bench export": "--device=0 --precision=high --cache=x --json",
  "bench report": "--device=0 --model=x --dtype=f16",
  "bench compare": "--device=0 --model=x --dtype=f16 --html=x",
};

test.each(Object.entries(strangers))("%s refuses what it would not read", async (command, flags) => {
  for (const flag of flags.split(" ")) {
    const { code, stderr, devices } = await ddim([...command.split(" "), ...(runs[command] as string[]), flag]);
    expect([flag, code, devices]).toEqual([flag, 2, 0]);
    expect(stderr).toContain(`unknown option '${flag.split("=")[0]}`);
  }
});

test.each([
  ["inspect", [A, "--dtype", "f16"], "--dtype means nothing here"],
  ["inspect", [A, "--random-weights", "1"], "--random-weights means nothing here"],
  ["inspect", [at("in.safetensors"), "--device", "0"], "--device means nothing here"],
  ["inspect", [A, "-m", at("model")], "a path is given too"],
  [
    "forward",
    [...VAE, "--component", "vae.encode", "--input", "x", "-o", "y", "--cache", "z"],
    "--cache means nothing here: --component vae.encode",
  ],
])("%s %j: a flag that part of a command reads is refused in the others", async (command, args, sentence) => {
  const { code, stderr, devices } = await ddim([command, ...args]);
  expect({ code, devices }).toEqual({ code: 2, devices: 0 });
  expect(stderr).toContain(sentence);
});

test("-b auto is what fits", async () => {
  const output = at("auto.png");
  expect(await ddim(["sample", ...MODEL, ...SHORT, "-b", "auto", "-q", "-o", output])).toMatchObject({ code: 0 });
  expect(await ddim(["edit", A, "-b", "automatic"])).toMatchObject({ code: 2, devices: 0 });
});
