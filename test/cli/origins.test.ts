/** The command line on the originals' layouts. */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { nmse } from "../reference/tensor.ts";
import { ddim, scratchFolder } from "../support/cli.ts";
import { goldenPath, readTensors } from "../support/models.ts";
import { originSource, readOrigin } from "../support/origins.ts";

const scratch = scratchFolder();
const ADM = goldenPath("origin/guided-adm-legacy");
const SMALL = goldenPath("origin/ddim-small");

/** A folder with the tensors of a checkpoint, all zero. */
async function zeros(name: string): Promise<string> {
  const folder = join(scratch, name);
  mkdirSync(folder, { recursive: true });
  const source = originSource(readOrigin(name));
  for (const file of ["config.json", "model.safetensors"]) writeFileSync(join(folder, file), await source.read(file));
  return folder;
}

test("forward --taps writes the modules that the input names, under its names", async () => {
  const [input, output, taps] = [
    `${ADM}/io.safetensors`,
    join(scratch, "o.safetensors"),
    join(scratch, "t.safetensors"),
  ];
  const outcome = await ddim(["forward", "-m", ADM, "--input", input, "-o", output, "--taps", taps]);
  expect(outcome).toMatchObject({ code: 0, stdout: "" });
  expect(outcome.stderr).toContain("t.safetensors: the outputs of 14 modules\n");
  const golden = await readTensors(input);
  const own = await readTensors(taps);
  expect(Object.keys(own).sort()).toEqual(
    Object.keys(golden)
      .filter((name) => name.startsWith("taps/"))
      .sort(),
  );
  for (const [name, { data }] of Object.entries(own))
    expect(nmse(data, golden[name]?.data as Float32Array), name).toBeLessThanOrEqual(1e-10);
});

test("forward --taps writes all modules where the input names none", async () => {
  const [output, taps] = [join(scratch, "all.safetensors"), join(scratch, "a.safetensors")];
  const plain = `${goldenPath("corners/learned")}/io_8x8.safetensors`;
  const all = await ddim([
    "forward",
    "-m",
    goldenPath("corners/learned"),
    "--input",
    plain,
    "-o",
    output,
    "--taps",
    taps,
  ]);
  expect(all.code).toBe(0);
  expect(Object.keys(await readTensors(taps))).toEqual(
    expect.arrayContaining(["taps/conv_in", "taps/time_embedding.linear_2", "taps/mid_block.attentions.0"]),
  );
});

test("what has no EMA weights is refused before a device is opened", async () => {
  const { code, stderr, devices } = await ddim(["inspect", ADM, "--weights", "ema"]);
  expect({ code, devices }).toEqual({ code: 2, devices: 0 });
  expect(stderr).toMatch(/^ddim: .*model\.safetensors has no EMA weights beside the plain ones\n$/);
});

test("inspect tells the layout, and counts the network's own tensors alone", async () => {
  const folder = await zeros("ldm-uncond-ema");
  for (const weights of ["plain", "ema"]) {
    const { stdout } = await ddim(["inspect", folder, "--weights", weights, "--json", "-q"]);
    const report = JSON.parse(stdout);
    expect(report).toMatchObject({ layout: "ldm", weights, parameters: 285667, bytes: 2 * 285667 });
    expect(report.layers[0].layer).toBe("model.diffusion_model.input_blocks.0.0");
  }
  const { stdout } = await ddim(["inspect", folder, "--weights", "ema", "-q"]);
  expect(stdout).toContain("UNet in the layout of latent-diffusion, EMA weights, 286 K parameters");
});

test("a picture remembers which weights made it", async () => {
  const output = join(scratch, "ema.png");
  const folder = await zeros("ldm-uncond-ema");
  const args = ["sample", "-m", folder, "--weights", "ema", "-S", "1", "--seed", "1", "-o", output, "-q"];
  expect(await ddim(args)).toMatchObject({ code: 0 });
  expect((await ddim(["inspect", output])).stdout).toContain(" --weights ema ");
});

test("what nobody knows is refused with the way out, passed over by it, and the picture remembers that", async () => {
  const origin = readOrigin("ldm-uncond-ema");
  (origin.config.model as { params: Record<string, unknown> }).params.zz_unknown = 7;
  origin.tensors["zz.tensor"] = [3];
  const folder = join(scratch, "unknown");
  mkdirSync(folder);
  const source = originSource(origin);
  for (const name of ["config.json", "model.safetensors"]) writeFileSync(join(folder, name), await source.read(name));
  const output = join(scratch, "unknown.png");
  const args = ["sample", "-m", folder, "-S", "1", "--seed", "1", "-o", output];
  const refused = await ddim(args);
  expect(refused).toMatchObject({ code: 1, devices: 0 });
  expect(refused.stderr).toMatch(/config\.json: model\.params: zz_unknown: unknown key, here 7: .*--ignore-unknown/);
  const { code, stderr } = await ddim([...args, "--ignore-unknown"]);
  expect(code).toBe(0);
  expect(stderr).toMatch(/warning: .*zz_unknown: unknown key, passed over, here 7/);
  expect(stderr).toMatch(/warning: .*1 tensors that nothing here uses are passed over: zz\.tensor/);
  const { parameters } = JSON.parse((await ddim(["inspect", output, "--json"])).stdout);
  expect(parameters).toMatchObject({ unknown: "warn", command: expect.stringContaining(" --ignore-unknown ") });
  const inspected = await ddim(["inspect", folder, "--ignore-unknown", "-q"]);
  expect(inspected.code).toBe(0);
  expect((await ddim(["schedule", "-m", folder, "-S", "2"])).stderr).toContain("--ignore-unknown");
  expect(await ddim(["schedule", "-m", folder, "-S", "2", "--ignore-unknown"])).toMatchObject({ code: 0 });
});

test.each([
  ["noise", ["-t", "0"]],
  ["invert", ["-S", "3"]],
  ["interpolate", ["--seeds", "1,2", "-n", "2", "-S", "3"]],
  ["fuse", ["-S", "3"]],
  ["edit", ["-S", "3"]],
  ["eval", ["-S", "3"]],
])("%s says what it passes over, and what its schedule lacks", async (command, args) => {
  const folder = join(scratch, `${command}-unknown`);
  cpSync("weights/pixel-avatars-16", folder, { recursive: true });
  const config = join(folder, "unet/config.json");
  writeFileSync(config, JSON.stringify({ ...JSON.parse(readFileSync(config, "utf8")), zz_unknown: 7 }));
  const pictures = { fuse: 2, interpolate: 0 }[command] ?? 1;
  const images = Array.from({ length: pictures }, () => "weights/pixel-avatars-16.png");
  const output = command === "eval" ? [] : ["-o", join(scratch, `${command}.png`)];
  const { code, stderr } = await ddim([command, ...images, "-m", folder, "--ignore-unknown", ...args, ...output]);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  expect(stderr.match(/warning: .*zz_unknown: unknown key, passed over/g)).toHaveLength(1);
  const leading = ["invert", "interpolate", "fuse"].includes(command) ? 1 : 0;
  expect(stderr.match(/warning: leading spacing with 3 steps/g) ?? []).toHaveLength(leading);
});

test("schedule reads an original's YAML, sample follows it", async () => {
  const { stdout } = await ddim(["schedule", "-m", SMALL, "-S", "4", "--compat", "ermongroup", "--json", "-q"]);
  const schedule = JSON.parse(stdout);
  expect(schedule).toMatchObject({ num_train_timesteps: 1000, beta_schedule: "linear", compat: "ermongroup" });
  expect(schedule.steps.map(({ t }: { t: number }) => t)).toEqual([750, 500, 250, 0]);
  const output = join(scratch, "images.safetensors");
  const args = ["sample", "-m", SMALL, "-n", "2", "-S", "2", "--seed", "1", "-o", output, "-q"];
  expect(await ddim([...args, "--compat", "ermongroup"])).toMatchObject({ code: 0 });
  expect((await readTensors(output)).images?.shape).toEqual([2, 3, 8, 8]);
});
