/** `ddim sample` on the GPU, with the smallest model and few steps. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openSafetensorsFile } from "../../src/node/folder.ts";
import { readPng } from "../../src/node/png.ts";
import { encodeSafetensors } from "../../src/weights/encode.ts";
import { ddim, scratchFolder } from "../support/cli.ts";

const scratch = scratchFolder();
const at = (...parts: string[]) => join(scratch, ...parts);

async function sample(...args: string[]) {
  const outcome = await ddim(["sample", "-S", "2", "--spacing", "trailing", "-q", ...args]);
  expect(outcome.stderr).toMatch(
    /^seed \d+, \d+ steps?, [\d.]+ ms per step, [\d.]+ images\/s, peak [\d.]+ MiB of GPU memory\n$/,
  );
  expect(outcome).toMatchObject({ code: 0, devices: 1 });
  return outcome;
}

const parametersOf = async (file: string) => JSON.parse((await ddim(["inspect", file, "--json"])).stdout).parameters;

test("one picture of all images, which the command inside it makes again", async () => {
  const { stdout, stderr } = await sample("-n", "6", "--grid", "-c", "hat,plain", "-o", at("sheet.png"), "--json");
  const report = JSON.parse(stdout);
  expect(report).toEqual({
    seed: expect.any(Number),
    steps: 2,
    images: [at("sheet.png")],
    ms_total: expect.any(Number),
    ms_per_step: expect.any(Number),
    ms_load: expect.any(Number),
    ms_compile: expect.any(Number),
    peak_gpu_bytes: expect.any(Number),
    adapter: expect.any(String),
    warnings: [],
  });
  expect(stderr).toContain(`seed ${report.seed}, 2 steps`);
  // Two rows of three, 128 pixels each with 8 between.
  expect(await readPng(at("sheet.png"))).toMatchObject({ width: 3 * 128 + 16, height: 2 * 128 + 8 });

  const parameters = await parametersOf(at("sheet.png"));
  expect(parameters).toMatchObject({ model: "pixel-avatars-16", seed: String(report.seed), classes: [2, 0], steps: 2 });
  expect(parameters.command).toBe(
    `ddim sample -m pixel-avatars-16 -n 6 -S 2 --seed ${report.seed} --spacing trailing -c 2,0 --grid -o sheet.png`,
  );
  const again = parameters.command.split(" ").slice(1, -1);
  expect((await ddim([...again, at("again.png")])).code).toBe(0);
  expect((await readPng(at("again.png"))).data).toEqual((await readPng(at("sheet.png"))).data);
});

test("numbered files, a folder, tensors: the same images whatever the form and the batch", async () => {
  const seed = ["-n", "3", "--seed", "18446744073709551615", "--scale", "1"];
  const files = await sample(...seed, "-o", at("one-%02d.png"), "--json");
  expect(files.stdout).toContain('"seed":18446744073709551615,');
  expect(JSON.parse(files.stdout).images).toEqual([at("one-00.png"), at("one-01.png"), at("one-02.png")]);
  await sample(...seed, "-b", "2", "-o", at("folder/"));
  expect(readdirSync(at("folder"))).toEqual(["000.png", "001.png", "002.png"]);
  const pictures = [];
  for (const i of [0, 1, 2]) {
    const image = await readPng(at(`one-0${i}.png`));
    expect(await readPng(at("folder", `00${i}.png`))).toEqual(image);
    expect((await parametersOf(at(`one-0${i}.png`))).command).toMatch(new RegExp(`-o one-%02d.png # image ${i}$`));
    pictures.push(image);
  }

  await sample(...seed.slice(0, -2), "-o", at("raw.safetensors"));
  const raw = await openSafetensorsFile(at("raw.safetensors"));
  expect(raw.info("images")).toMatchObject({ dtype: "F32", shape: [3, 3, 16, 16] });
  expect(JSON.parse(raw.metadata["ddim-webgpu"] as string)).toMatchObject({ seed: "18446744073709551615" });
  const values = await raw.read("images");
  for (const [i, { data }] of pictures.entries())
    for (let c = 0; c < 3; c++)
      for (let p = 0; p < 256; p++) {
        const byte = 255 * Math.min(1, Math.max(0, ((values[(3 * i + c) * 256 + p] as number) + 1) / 2));
        expect(Math.abs((data[4 * p + c] as number) - byte)).toBeLessThanOrEqual(0.501);
      }
});

test("given noise is used, and what shows the way to the image is written on request", async () => {
  const data = Float32Array.from({ length: 2 * 768 }, (_, i) => Math.sin(i * i));
  writeFileSync(at("x_T.safetensors"), encodeSafetensors({ x_T: { dtype: "F32", shape: [2, 3, 16, 16], data } }));
  mkdirSync(at("old"));
  const noise = ["--noise", at("x_T.safetensors"), "--seed", "5"];
  await sample(...noise, "-o", at("noise.png"), "--save-steps", at("steps"), "--trace", at("trace.json"));
  expect(readdirSync(at("steps"))).toEqual(["step-0000.png", "step-0001.png"]);
  // The last estimate of x0 is the image.
  expect((await readPng(at("steps/step-0001.png"))).data).toEqual((await readPng(at("noise.png"))).data);
  expect((await readPng(at("steps/step-0000.png"))).data).not.toEqual((await readPng(at("noise.png"))).data);
  const { traceEvents } = JSON.parse(readFileSync(at("trace.json"), "utf8"));
  expect(traceEvents.map((event: { cat: string }) => event.cat)).toContain("conv2d");
  expect(traceEvents.every((event: { ph: string; dur: number }) => event.ph === "X" && event.dur >= 0)).toBe(true);
  const { command, count } = await parametersOf(at("noise.png"));
  expect(count).toBe(2);
  expect(command).toContain(`--noise ${at("x_T.safetensors")} -S 2 --seed 5`);

  await sample(...noise, "-o", at("other.png"), "--seed", "6");
  expect((await readPng(at("other.png"))).data).toEqual((await readPng(at("noise.png"))).data);
});

test("-v prints a table of kernels, --overwrite replaces a picture", async () => {
  writeFileSync(at("used.png"), "old");
  const { code, stderr } = await ddim(["sample", "-S", "1", "-o", at("used.png"), "--overwrite", "-v"]);
  expect(code).toBe(0);
  expect(stderr).toMatch(/kernel +calls +ms +GFLOP\/s +GB\/s\n(\S+ +\d+ .*\n)*conv2d\/\w+ +\d+/);
  expect((await readPng(at("used.png"))).width).toBe(128);
});

test("an interrupted run frees the device and leaves no file", async () => {
  const abort = new AbortController();
  let disposed = false;
  const { openNodeDevice } = await import("../../src/node/device.ts");
  const running = ddim(["sample", "-S", "1000", "-n", "16", "-o", at("long/")], {
    signal: abort.signal,
    openDevice: async (options) => {
      const device = await openNodeDevice({ ...options, fast: false });
      const dispose = device.dispose.bind(device);
      device.dispose = () => {
        expect(device.counters.liveObjects).toBe(0);
        disposed = true;
        dispose();
      };
      setTimeout(() => abort.abort(), 1500);
      return device;
    },
  });
  const { code, stderr } = await running;
  expect(code).toBe(130);
  expect(stderr).toMatch(/ddim: interrupted\n$/);
  expect(disposed).toBe(true);
  expect(existsSync(at("long"))).toBe(false);
});
