/** What people get wrong: one sentence, the right exit code, no device opened, no file left behind. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { DeviceError } from "../../src/runtime/errors.ts";
import { encodeSafetensors } from "../../src/weights/encode.ts";
import { ddim, scratchFolder } from "../support/cli.ts";

const scratch = scratchFolder();
const out = join(scratch, "out");
mkdirSync(out);

/** A copy of a model that may be damaged. */
function copy(name: string, from: string): string {
  const folder = join(scratch, name);
  cpSync(from, folder, { recursive: true });
  return folder;
}

function edit(file: string, change: (json: Record<string, unknown>) => void): void {
  const json = JSON.parse(readFileSync(file, "utf8"));
  change(json);
  rmSync(file);
  writeFileSync(file, JSON.stringify(json));
}

async function refused(args: readonly string[], code: number, message: RegExp): Promise<void> {
  const outcome = await ddim(args);
  expect(outcome.stderr).toMatch(message);
  expect(outcome.stderr).toMatch(/^ddim: .*\n$/);
  expect(outcome).toMatchObject({ code, stdout: "", devices: 0 });
  expect(readdirSync(out)).toEqual([]);
}

const sample = (model: string, ...more: string[]) => ["sample", "-m", model, "-o", join(out, "x.png"), ...more];
const AVATARS = "weights/pixel-avatars-16";

test("truncated weights", async () => {
  const model = copy("truncated", AVATARS);
  truncateSync(join(model, "unet/diffusion_pytorch_model.safetensors"), 1_000_000);
  await refused(sample(model), 1, /model\.safetensors: is cut off: tensor ".*" ends at byte \d+, the file at 1000000/);
});

test("weights of other shapes, all named at once", async () => {
  const model = copy("shapes", AVATARS);
  edit(join(model, "unet/config.json"), (json) => {
    json.block_out_channels = [32, 64, 96];
  });
  await refused(
    sample(model),
    1,
    /do not fit the configuration, read in the layout of diffusers because 149 of 153 .*: .*wrong shape .*down_blocks\.2.*up_blocks\.0/,
  );
});

test("a missing shard", async () => {
  const model = copy("shards", "test/golden/models/ddpm_sharded");
  rmSync(join(model, "unet/diffusion_pytorch_model-00002-of-00003.safetensors"));
  const args = [
    "forward",
    "-m",
    model,
    "--input",
    "test/golden/models/ddpm/io.safetensors",
    "-o",
    join(out, "y.safetensors"),
  ];
  await refused(args, 1, /00002-of-00003\.safetensors: this shard is missing/);
});

test("an unknown configuration key", async () => {
  const model = copy("key", AVATARS);
  edit(join(model, "unet/config.json"), (json) => {
    json.wobble = 3;
  });
  await refused(sample(model), 1, /unet\/config\.json: wobble: unknown key/);
});

test("a scheduler that is not of this family", async () => {
  const model = copy("scheduler", AVATARS);
  edit(join(model, "scheduler/scheduler_config.json"), (json) => {
    json._class_name = "FlowMatchEulerDiscreteScheduler";
  });
  await refused(sample(model), 1, /_class_name: FlowMatchEulerDiscreteScheduler is a flow-matching scheduler/);
});

test("no model, no weights, no scheduler", async () => {
  await refused(sample(join(scratch, "nothing")), 1, /nothing: there is no such folder/);
  await refused(sample(out), 1, /out: has neither unet\/config\.json nor config\.json/);
  await refused(
    sample("test/golden/models/noattn"),
    1,
    /has none, so it can be evaluated but not sampled; of a part of a model give the folder/,
  );
});

test("a class, a number of steps or a guidance that the model does not have", async () => {
  await refused(sample(AVATARS, "-c", "5"), 2, /class 5 is out of range: pixel-avatars-16 has classes 0\.\.4/);
  await refused(sample(AVATARS, "-S", "0"), 2, /steps must be a whole number from 1 to 1000 .*got 0/);
  await refused(sample(AVATARS, "-S", "1001"), 2, /steps must be a whole number from 1 to 1000 .*got 1001/);
  const plain = "test/golden/pipelines/eps_clip";
  await refused(sample(plain, "-c", "1"), 2, /eps_clip is unconditional and takes no class/);
  await refused(sample(plain, "--guidance", "2"), 2, /guidance 2 needs a class-conditional model/);
});

/** A file with starting noise. */
function noiseFile(name: string, shape: number[], change: (data: Float32Array) => void = () => {}): string {
  const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
  change(data);
  const path = join(scratch, name);
  writeFileSync(path, encodeSafetensors({ x_T: { dtype: "F32", shape, data } }));
  return path;
}

test("starting noise that cannot be right", async () => {
  const nan = noiseFile("nan.safetensors", [1, 3, 16, 16], (data) => {
    data[100] = Number.NaN;
  });
  await refused(sample(AVATARS, "--noise", nan), 1, /nan\.safetensors: tensor "x_T" holds NaN at position 100/);
  const grey = noiseFile("grey.safetensors", [1, 1, 16, 16]);
  await refused(sample(AVATARS, "--noise", grey), 1, /x_T has shape \[1, 1, 16, 16\], expected \[N, 3, H, W\]/);
  const odd = noiseFile("odd.safetensors", [1, 3, 18, 16]);
  await refused(sample(AVATARS, "--noise", odd), 2, /height must be a multiple of 4/);
  const two = noiseFile("two.safetensors", [2, 3, 16, 16]);
  await refused(sample(AVATARS, "--noise", two, "-n", "3"), 2, /count 3 differs from the 2 images/);
  const other = join(scratch, "other.safetensors");
  writeFileSync(other, encodeSafetensors({ noise: { dtype: "F32", shape: [1], data: Float32Array.of(0) } }));
  await refused(sample(AVATARS, "--noise", other), 1, /other\.safetensors: has no tensor "x_T"/);
  await refused(
    sample(AVATARS, "--noise", join(scratch, "gone.safetensors")),
    1,
    /gone\.safetensors: there is no such file/,
  );
});

test("an output that cannot be written", async () => {
  const existing = join(scratch, "existing.png");
  writeFileSync(existing, "mine");
  const to = (path: string, ...more: string[]) => ["sample", "-o", path, ...more];
  await refused(to(existing), 1, /existing\.png: exists already; --overwrite replaces it/);
  expect(readFileSync(existing, "utf8")).toBe("mine");
  await refused(to(join(scratch, "no/x.png")), 1, /x\.png: cannot be written, there is no folder/);
  await refused(to("/proc/self/x.png"), 1, /x\.png: cannot be written \(E/);
  await refused(sample(AVATARS, "--save-steps", existing), 1, /existing\.png: is not a folder/);
  await refused(sample(AVATARS, "--trace", existing), 1, /existing\.png: exists already/);
  const forward = ["forward", "--input", "weights/x.safetensors", "-o", join(scratch, "no/y.safetensors")];
  await refused(forward, 1, /weights\/x\.safetensors: there is no such file/);
  const io = "test/golden/models/noattn/io.safetensors";
  const network = ["forward", "-m", "test/golden/models/noattn", "--input", io];
  await refused([...network, "-o", join(scratch, "no/y.safetensors")], 1, /y\.safetensors: cannot be written/);
});

test("inputs of forward that cannot be right", async () => {
  const input = join(scratch, "in.safetensors");
  const model = "test/golden/models/noattn";
  const args = ["forward", "-m", model, "--input", input, "-o", join(out, "y.safetensors")];
  const sampleTensor = { dtype: "F32", shape: [1, 2, 16, 16], data: new Float32Array(512) } as const;
  writeFileSync(input, encodeSafetensors({ sample: sampleTensor }));
  await refused(args, 1, /in\.safetensors: has no tensor "timestep"/);
  const timestep = { dtype: "F32", shape: [], data: Float32Array.of(Number.POSITIVE_INFINITY) } as const;
  writeFileSync(input, encodeSafetensors({ sample: sampleTensor, timestep }));
  await refused(args, 1, /in\.safetensors: tensor "timestep" holds Infinity at position 0/);
  const zero = { dtype: "F32", shape: [], data: Float32Array.of(0) } as const;
  writeFileSync(input, encodeSafetensors({ sample: { ...sampleTensor, shape: [2, 1, 16, 16] }, timestep: zero }));
  await refused(args, 1, /sample has shape \[2, 1, 16, 16\], expected \[N, 2, H, W\]/);
  writeFileSync(input, encodeSafetensors({ sample: { ...sampleTensor, shape: [1, 2, 256, 1] }, timestep: zero }));
  await refused(args, 2, /size 256×1: width must be a multiple of/);
});

test("no adapter", async () => {
  const openDevice = async () => {
    throw new DeviceError("unsupported", "no WebGPU adapter was found on this machine", "run `ddim doctor`");
  };
  const { code, stderr, stdout } = await ddim([...sample(AVATARS), "-q"], { openDevice });
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toBe("ddim: no WebGPU adapter was found on this machine (run `ddim doctor`)\n");
  expect(existsSync(join(out, "x.png"))).toBe(false);
});

test("a cache that is no folder", async () => {
  await refused(
    ["sample", "--cache", "package.json", "-o", join(out, "x.png")],
    1,
    /^ddim: package.json: is not a folder\n$/,
  );
});
