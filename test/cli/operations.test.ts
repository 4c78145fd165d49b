/** The commands that work on images, and the sampler's flags of `ddim sample`, with the smallest model and few steps. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import jpeg from "jpeg-js";
import { beforeAll, describe, expect, test } from "vitest";
import { oriented } from "../../src/image/orientation.ts";
import { encodePng } from "../../src/image/png.ts";
import { readPngText } from "../../src/image/pngText.ts";
import { openSafetensorsFile } from "../../src/node/folder.ts";
import { readPng } from "../../src/node/png.ts";
import { nmse } from "../reference/tensor.ts";
import { ddim, scratchFolder } from "../support/cli.ts";
import { exif, withExif } from "../support/exif.ts";

const scratch = scratchFolder();
const at = (...parts: string[]) => join(scratch, ...parts);
const short = ["-S", "3", "--spacing", "trailing", "-q"];

async function run(...args: string[]) {
  const outcome = await ddim(args);
  expect(outcome.stderr).not.toContain("ddim:");
  expect(outcome.code).toBe(0);
  return outcome;
}

const tensors = async (path: string, name: string) => {
  const file = await openSafetensorsFile(path);
  return { shape: file.info(name).shape, data: await file.read(name) };
};

beforeAll(async () => {
  await run("sample", ...short, "--seed", "1", "-n", "2", "-c", "1", "--scale", "1", "-o", at("in-%d.png"));
});
const [a, b] = [at("in-0.png"), at("in-1.png")];

test("a JPEG file counts as the picture that its EXIF orientation shows", async () => {
  const { width, height, data } = await readPng(a);
  const encoded = jpeg.encode({ width, height, data: Buffer.from(data) }, 100).data;
  // Stored upside down, and said to be.
  const turned = jpeg.encode({ width, height, data: Buffer.from(oriented({ width, height, data }, 3).data) }, 100).data;
  writeFileSync(at("plain.jpg"), encoded);
  writeFileSync(at("turned.jpg"), withExif(turned, exif(3, "II")));
  const latent = async (path: string) => {
    await run("noise", path, "-t", "0", "-q", "--seed", "1", "-o", at("n.safetensors"), "--overwrite");
    return (await tensors(at("n.safetensors"), "images")).data as Float32Array;
  };
  const [png, plain, same] = [await latent(a), await latent(at("plain.jpg")), await latent(at("turned.jpg"))];
  expect(nmse(plain, png)).toBeLessThan(1e-2);
  expect(nmse(same, plain)).toBeLessThan(1e-3);
  writeFileSync(at("cut.jpg"), encoded.subarray(0, encoded.length - 40));
  const { code, stderr } = await ddim(["invert", at("cut.jpg"), "-o", at("never.safetensors")]);
  expect(code).toBe(1);
  expect(stderr).toMatch(/cut\.jpg: is a JPEG file that cannot be decoded, cut off or damaged/);
});

describe("invert", () => {
  test("latents, their moments, and the way back", async () => {
    const flags = ["-S", "8", "--spacing", "trailing", "-q", "-c", "1", "--reconstruct"];
    const { stdout } = await run("invert", a, b, ...flags, "-o", at("strip.png"), "--json");
    const report = JSON.parse(stdout);
    expect(report.images).toHaveLength(2);
    for (const image of report.images) {
      expect(image.mse).toBeGreaterThan(0);
      expect(image.psnr).toBeCloseTo(10 * Math.log10(4 / image.mse), 6);
      expect(Math.abs(image.mean)).toBeLessThan(0.5);
      expect(image.std).toBeGreaterThan(0.5);
      expect(image.kurtosis).toBeGreaterThan(1);
      expect(image.residual).toBeGreaterThan(0);
    }
    // Two rows of three, enlarged to 128.
    expect(await readPng(at("strip.png"))).toMatchObject({ width: 3 * 128 + 16, height: 2 * 128 + 8 });
    const exact = await run("invert", a, ...flags, "--convention", "exact", "-o", at("exact.safetensors"));
    expect(exact.stdout).toMatch(/mse/);
    const both = await run("invert", a, b, ...flags, "-o", at("strip.png"), "--overwrite");
    const [head, one, , mean] = both.stdout
      .trimEnd()
      .split("\n")
      .map((line) => line.trim().split(/ {2,}/));
    const [first, second] = report.images.map((image: { mse: number }) => image.mse);
    expect(one![head!.indexOf("mse")]).toBe(first.toExponential(3));
    expect(mean![0]).toBe("mean");
    expect(mean![head!.indexOf("mse")]).toBe(((first + second) / 2).toExponential(3));
    const file = await openSafetensorsFile(at("exact.safetensors"));
    expect([...file.tensors.keys()].sort()).toEqual(["images", "x_T", "x_T_previous"]);
  });

  test("the way back is bounded only if asked for: errors fall with the steps and with the iterations", async () => {
    const mse = async (...more: string[]) => {
      const flags = ["--spacing", "trailing", "-q", "-c", "1", "--reconstruct", "--json", "--overwrite"];
      const { stdout } = await run("invert", a, ...flags, ...more, "-o", at("back.png"));
      return JSON.parse(stdout).images[0].mse as number;
    };
    const [ten, twenty] = [await mse("-S", "10"), await mse("-S", "20")];
    expect(twenty).toBeLessThan(0.9 * ten);
    expect(await mse("-S", "10", "--iterations", "12")).toBeLessThan(0.7 * ten);
    expect(await mse("-S", "20", "--clip")).toBeGreaterThan(1.5 * twenty);
  });

  test("x_T samples the image again", async () => {
    const flags = ["-S", "20", "--spacing", "trailing", "-q", "-c", "1"];
    await run("invert", a, ...flags, "--iterations", "5", "-o", at("x_T.safetensors"));
    await run("sample", ...flags, "--no-clip", "--noise", at("x_T.safetensors"), "--scale", "1", "-o", at("again.png"));
    const [again, original] = [await readPng(at("again.png")), await readPng(a)];
    const error = again.data.reduce((sum, v, i) => sum + Math.abs(v - original.data[i]!), 0) / again.data.length;
    expect(error).toBeLessThan(8);
  });
});

test("interpolate: a row between seeds, a grid of four, between images; fuse", async () => {
  const row = await run("interpolate", "--seeds", "1,2", "--at", "0,.5,1", ...short, "-o", at("row.png"), "--json");
  expect(JSON.parse(row.stdout)).toMatchObject({ count: 3, steps: 3 });
  expect(await readPng(at("row.png"))).toMatchObject({ width: 3 * 128 + 16, height: 128 });
  await run("interpolate", "--seeds", "1,2,3,4", "-n", "2", ...short, "-o", at("grid.png"));
  expect(await readPng(at("grid.png"))).toMatchObject({ width: 2 * 128 + 8, height: 2 * 128 + 8 });
  await run("interpolate", a, b, "-n", "3", ...short, "-c", "1", "-o", at("between.safetensors"));
  expect((await tensors(at("between.safetensors"), "images")).shape).toEqual([3, 3, 16, 16]);
  await run("fuse", a, b, "--mix", ".5", ...short, "-o", at("fused.png"));
  expect(await readPng(at("fused.png"))).toMatchObject({ width: 128, height: 128 });
});

test("edit: by strength, and under a mask only", async () => {
  await run("edit", a, ...short, "--strength", "0.3", "-c", "1", "-o", at("edited.png"));
  const small = await run("edit", a, "--strength", "0.005", "-S", "50", "-c", "1", "-o", at("little.png"));
  expect(small.stderr).toMatch(/strength 0\.005 begins at t = 4, where 5 of 50 steps fit: those are taken/);
  const data = new Uint8ClampedArray(4 * 256).fill(255);
  for (let p = 0; p < 128; p++) data.set([0, 0, 0, 255], 4 * p);
  writeFileSync(at("mask.png"), await encodePng({ width: 16, height: 16, data }));
  await run("edit", a, ...short, "--mask", at("mask.png"), "--repaint", "1,2", "--scale", "1", "-o", at("painted.png"));
  const [painted, original] = [await readPng(at("painted.png")), await readPng(a)];
  expect(painted.data.slice(0, 512)).toEqual(original.data.slice(0, 512));
  expect(painted.data.slice(512)).not.toEqual(original.data.slice(512));
  // Pillow's luma of these greens is 127 and 128: the first is kept, the second painted; red is 0 in both.
  for (let p = 0; p < 256; p++) data.set([0, p < 128 ? 217 : 218, 0, 255], 4 * p);
  writeFileSync(at("green.png"), await encodePng({ width: 16, height: 16, data }));
  await run("edit", a, ...short, "--mask", at("green.png"), "--scale", "1", "-o", at("green-painted.png"));
  const green = await readPng(at("green-painted.png"));
  expect(green.data.slice(0, 512)).toEqual(original.data.slice(0, 512));
  expect(green.data.slice(512)).not.toEqual(original.data.slice(512));
});

test("noise and eval", async () => {
  const noise = await run("noise", a, "-t", "0,500,999", "-o", at("noise.png"), "-q");
  expect(noise.devices).toBe(0);
  expect(await readPng(at("noise.png"))).toMatchObject({ width: 3 * 128 + 16, height: 128 });
  const { stdout } = await run("eval", a, ...short, "--json", "-c", "1");
  const [image] = JSON.parse(stdout).images;
  expect(image.steps.map((s: { t: number }) => s.t)).toEqual([999, 666, 332]);
  expect(image.total_bpd).toBeGreaterThan(0);
  expect((await run("eval", a, ...short)).stdout).toMatch(/x0_mse/);
});

test("sample: every rule, written into the picture as the command that makes it again", async () => {
  const rules = [
    ["--sampler", "dpmpp2m"],
    ["--sampler", "ddpm", "--temperature", "0.8", "--threshold", "0.9,2"],
    ["--eta", "1,0.5,0", "--no-rederive", "--start", "900"],
    ["--guidance", "3,1", "--guidance-interval", "100,900", "--guidance-rescale", "0.7", "--negative-class", "hat"],
    ["--antithetic", "--sigma", "hat"],
  ];
  for (const rule of rules) {
    await run("sample", ...short, "-n", "2", "--seed", "3", "-c", "1", ...rule, "-o", at("rule.png"), "--overwrite");
    const { parameters } = JSON.parse((await run("inspect", at("rule.png"), "--json")).stdout);
    const again = (parameters.command as string).split(" ").slice(1, -1);
    await run(...again, at("twin.png"), "--overwrite");
    expect((await readPng(at("twin.png"))).data).toEqual((await readPng(at("rule.png"))).data);
  }
});

test.each([
  ["edit", a, "--strength", "0.5", "--seed", "3"],
  ["interpolate", "--seeds", "5,6", "--at", "0.3,0.9"],
  ["noise", a, "-t", "10,900"],
])("the file of %s %s remembers the command that makes it again", async (...flags) => {
  const steps = flags[0] === "noise" ? [] : ["-S", "2", "-q"];
  await run(...flags, ...steps, "--output", at("own.png"), "--overwrite");
  const { command } = await readPngText(readFileSync(at("own.png")));
  expect(command).toBe(["ddim", ...flags, ...steps, "--output own.png --overwrite"].join(" "));
});

test("sample --sweep: a labelled picture of every eta and number of steps", async () => {
  const flags = ["sample", "--sweep", "--eta", "0,.5", "-S", "1,2,3", "--seed", "4", "-q", "-c", "0"];
  await run(...flags, "-o", at("sweep.png"));
  const picture = await readPng(at("sweep.png"));
  expect(picture).toMatchObject({ width: 3 * 128 + 16, height: 2 * (128 + 14) + 8 });
  // The cell of eta 0 and two steps is the picture of such a run.
  await run("sample", "-S", "2", "--seed", "4", "-q", "-c", "0", "-o", at("cell.png"));
  const cell = await readPng(at("cell.png"));
  const at2 = (x: number, y: number) => [
    ...picture.data.subarray(4 * ((14 + y) * picture.width + 136 + x)).subarray(0, 3),
  ];
  for (const [x, y] of [
    [0, 0],
    [64, 64],
    [127, 127],
  ] as const)
    expect(at2(x, y)).toEqual([...cell.data.subarray(4 * (y * 128 + x), 4 * (y * 128 + x) + 3)]);
  // Text is black on white above it.
  expect(picture.data.subarray(0, 4 * 14 * picture.width).includes(0)).toBe(true);
});

test("sample --save-state and --resume", async () => {
  const flags = ["sample", "-S", "4", "-q", "-n", "3", "-b", "2", "--eta", "0.5", "--seed", "9"];
  await run(...flags, "-o", at("whole.safetensors"), "--save-state", at("state.safetensors"));
  await run(...flags, "-o", at("resumed.safetensors"), "--resume", at("state.safetensors"));
  const bytes = (name: string) => tensors(at(name), "images");
  expect(await bytes("resumed.safetensors")).toEqual(await bytes("whole.safetensors"));
  const other = await ddim([...flags, "--eta", "0.4", "-o", at("x.safetensors"), "--resume", at("state.safetensors")]);
  expect(other.code).toBe(2);
  expect(other.stderr).toContain("saved state is of a run with other options");
  // As they were kept before models were identified by all of their bytes: without a checksum, with another fingerprint.
  const old = readFileSync(at("state.safetensors"), "latin1");
  const length = Number(Buffer.from(old, "latin1").readBigUInt64LE());
  const header = old
    .slice(8, 8 + length)
    .replace(/\\"fingerprint\\":\\"2-/, '\\"fingerprint\\":\\"')
    .replace(/,?\\"checksum\\":\\"[0-9a-f]+\\"/, "");
  writeFileSync(
    at("old.safetensors"),
    Buffer.from(old.slice(0, 8) + header.padEnd(length) + old.slice(8 + length), "latin1"),
  );
  const earlier = await ddim([...flags, "-o", at("x.safetensors"), "--resume", at("old.safetensors")]);
  expect(earlier.stderr).toContain("the saved state is of an earlier version");
  expect(earlier.code).toBe(2);
  const wrong = await ddim([...flags, "-o", at("x.safetensors"), "--resume", at("whole.safetensors")]);
  expect(wrong.stderr).toContain("is no saved run");
  expect(readFileSync(at("state.safetensors")).length).toBeGreaterThan(1000);
});

test.each([
  [["interpolate", "-o", "x.png"], "say what to go between"],
  [["interpolate", "--seeds", "1,2,3"], "expected two seeds or four"],
  [["invert", "nothing.png", "-o", "x.safetensors"], "nothing.png"],
  [["edit", a, "-o", "x.gif"], "must end in .png or .safetensors"],
  [["edit", a, "--repaint", "3"], "expected a jump and a number of resamples"],
])("%j is refused", async (args, message) => {
  const { code, stderr, devices } = await ddim(args);
  expect(code).not.toBe(0);
  expect(stderr).toContain(message);
  expect(devices).toBe(0);
});
