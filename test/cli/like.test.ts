/** `ddim sample --like`: pictures made again, changed by the flags that are given. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { encodePng } from "../../src/image/png.ts";
import { readPngText } from "../../src/image/pngText.ts";
import { readPng } from "../../src/node/png.ts";
import { DeviceError } from "../../src/runtime/errors.ts";
import { ddim, scratchFolder, type World } from "../support/cli.ts";
import { hostileText, INVISIBLE } from "../support/hostile.ts";
import { readTensors } from "../support/models.ts";

const scratch = scratchFolder();
const at = (name: string) => join(scratch, name);
const SHORT = ["-S", "2", "--spacing", "trailing"];

async function works(...args: string[]): Promise<string> {
  const { code, stderr } = await ddim(["sample", ...args]);
  expect(code, stderr).toBe(0);
  return stderr;
}

const pixels = async (name: string) => await readPng(at(name));
const commandOf = async (name: string): Promise<string> =>
  JSON.parse((await ddim(["inspect", at(name), "--json"])).stdout).command;

test("a sheet, with what made it said; a flag that is given wins", async () => {
  const made = [...SHORT, "-n", "4", "-c", "hat,plain", "--seed", "5", "--eta", "0.5", "--grid", "-q"];
  await works(...made, "-o", at("sheet.png"));
  const stderr = await works("--like", at("sheet.png"), "-o", at("again.png"));
  expect(stderr).toContain(`sheet.png was made by: ${await commandOf("sheet.png")}\n`);
  expect(await pixels("again.png")).toEqual(await pixels("sheet.png"));
  expect(await commandOf("again.png")).toBe((await commandOf("sheet.png")).replace("sheet.png", "again.png"));

  await works(...made, "--eta", "0", "-n", "2", "-o", at("other.png"));
  await works("--like", at("sheet.png"), "--eta=0", "-n2", "-q", "-o", at("changed.png"));
  expect(await pixels("changed.png")).toEqual(await pixels("other.png"));
  // What goes with the flag's other form goes with the flag.
  await works("--like", at("sheet.png"), "--timesteps", "900,400", "-q", "-o", at("listed.png"));
  expect(await commandOf("listed.png")).toMatch(/--timesteps 900,400 --seed 5 --eta 0\.5 /);
  await works("--like", at("listed.png"), "-S", "1", "-q", "-o", at("one.safetensors"));
  expect((await readTensors(at("one.safetensors"))).images?.shape).toEqual([4, 3, 16, 16]);
  await works("--like", at("sheet.png"), "--sweep", "-S", "1,2", "-c", "hat", "-q", "-o", at("swept.png"));
  await works("--like", at("swept.png"), "-q", "-o", at("swept-again.png"));
  expect(await pixels("swept-again.png")).toEqual(await pixels("swept.png"));
});

test("one file of several is made alone, in its own size; a larger run has the same images", async () => {
  const run = [...SHORT, "--seed", "9", "-q", "--size", "24x16", "--rng", "torch"];
  await works(...run, "-n", "5", "-o", at("all.safetensors"));
  await works(...run, "-n", "2", "--first-image", "3", "-b", "1", "-o", at("part-%d.png"));
  await works(...run, "-n", "2", "--first-image", "3", "-o", at("part.safetensors"));
  const [all, part] = [await readTensors(at("all.safetensors")), await readTensors(at("part.safetensors"))];
  expect(part.images?.shape).toEqual([2, 3, 16, 24]);
  expect(part.images?.data).toEqual(all.images?.data.subarray(3 * 3 * 16 * 24));
  expect(await commandOf("part-4.png")).toMatch(/-n 2 --first-image 3 --size 24x16 .* # image 4$/);

  await works("--like", at("part-4.png"), "-q", "-o", at("alone.png"));
  expect(await pixels("alone.png")).toEqual(await pixels("part-4.png"));
  await works("--like", at("part-4.png"), "-q", "-n", "3", "--first-image", "2", "-o", at("more-%d.png"));
  expect(await pixels("more-4.png")).toEqual(await pixels("part-4.png"));
});

test("a size that the network cannot take is one sentence with the divisor, before a device is opened", async () => {
  for (const [size, sentence] of [
    ["18x16", "size 16×18: width must be a multiple of 4, because pixel-avatars-16 halves it 2 times"],
    ["16x0", "expected width x height in pixels, such as 96x64"],
    ["16", "expected width x height in pixels, such as 96x64"],
    ["99996x99996", "no run can hold the numbers"],
  ] as const) {
    const { code, stderr, devices } = await ddim(["sample", "--size", size, "-o", at("never.png")]);
    expect({ code, devices }).toEqual({ code: 2, devices: 0 });
    expect(stderr).toContain(sentence);
  }
});

test("a saved run keeps its size and its first image", async () => {
  const run = [...SHORT, "--seed", "3", "-q", "--size", "16x24", "--first-image", "6", "-n", "2", "-b", "1"];
  await works(...run, "-o", at("saved.safetensors"), "--save-state", at("state.safetensors"));
  await works(...run, "-o", at("resumed.safetensors"), "--resume", at("state.safetensors"));
  expect(await readTensors(at("resumed.safetensors"))).toEqual(await readTensors(at("saved.safetensors")));
  const other = await ddim([
    "sample",
    ...run,
    "--size",
    "24x16",
    "--resume",
    at("state.safetensors"),
    "-o",
    at("x.png"),
  ]);
  expect(other.code).toBe(2);
  expect(other.stderr).toContain("saved state is of a run with other options");
});

async function picture(name: string, command: string, more: object = {}): Promise<string> {
  const parameters = {
    ...{ model: "pixel-avatars-16", seed: "1", count: 1, steps: 1, eta: 0, sampler: "ddim", spacing: "trailing" },
    ...{ compat: "none", guidance: 1, clip: true, dtype: "f32", rng: "philox", size: { width: 16, height: 16 } },
    ...{ adapter: "x", version: "0.1.0", command, ...more },
  };
  const image = { width: 16, height: 16, data: new Uint8ClampedArray(1024).fill(255) };
  writeFileSync(at(name), await encodePng(image, { "ddim-webgpu": JSON.stringify(parameters) }));
  return at(name);
}

test.each([
  [
    "ddim edit a.png -S 5 -o b.png",
    2,
    /made by another command than sample; this makes it again: ddim edit a\.png -S 5/,
  ],
  ["ddim noise a.png -t 5", 2, /made by another command/],
  ["ddim sample -m https://example.org/model -n 1", 2, /-m|--model.* is not on this machine; type --model yourself/],
  ["ddim sample -m someone/model -n 1", 2, /--model someone\/model, which is not on this machine/],
  ["ddim sample -m '\\\\host\\share' -n 1", 2, /not on this machine/],
  ["ddim sample --context //host/share/c.safetensors", 2, /--context \/\/host\/share\/c\.safetensors, which is not/],
  ["ddim sample -m ./nowhere -n 1", 1, /nowhere/],
  ["ddim sample -n 3 --noise x.safetensors # image 2", 2, /image 2 of a run whose images start together/],
  ["ddim sample -n 3 --rng torch-batch # image 2", 2, /--rng torch-batch/],
  ["ddim sample --scale 1000000", 2, /--scale 1000000: an image would have 16000000 x 16000000 pixels/],
])("%s is refused in one sentence", async (command, code, message) => {
  const outcome = await ddim(["sample", "--like", await picture("bad.png", command), "-o", at("never.png")]);
  expect(outcome).toMatchObject({ code, devices: 0 });
  expect(outcome.stderr).toMatch(message);
  expect(outcome.stderr).toMatch(/^ddim: .*\n$/m);
});

test("a picture without parameters, one with damaged ones, and one of other weights", async () => {
  writeFileSync(at("plain.png"), await encodePng({ width: 1, height: 1, data: new Uint8ClampedArray(4) }));
  const plain = await ddim(["sample", "--like", at("plain.png")]);
  expect(plain).toMatchObject({ code: 1, devices: 0 });
  expect(plain.stderr).toContain("plain.png: does not say how ddim made it, so it cannot be made again");
  const damaged = await ddim(["sample", "--like", await picture("damaged.png", "ddim sample", { count: -1 })]);
  expect(damaged).toMatchObject({ code: 1, devices: 0 });
  expect(damaged.stderr).toContain('has no valid "count"');
  const other = await picture("weights.png", "ddim sample -S 1 --seed 1 -o x.png", { modelHash: "0".repeat(32) });
  expect(await works("--like", other, "-o", at("weights-again.png"))).toContain(
    "was made with other weights than those of pixel-avatars-16, so its images differ",
  );
});

test("whatever a picture's command is, only flags' own parsers read it, and nothing is written elsewhere", async () => {
  const world: World = { openDevice: () => Promise.reject(new DeviceError("unsupported", "no adapter")) };
  const words = fc.array(
    fc.oneof(
      fc.constantFrom(
        ...["-n", "-S", "--eta", "--grid", "--size", "--first-image", "--like", "--resume", "--save-state", "--cache"],
        ...["-o", "--overwrite", "--trace", "--sweep", "--model", "--json", "-v", "1", "2,3", "16x16", "x.png", "0.5"],
      ),
      hostileText.map((text) => text.replace(/[\0\p{Cs}]/gu, "")),
    ),
    { maxLength: 6 },
  );
  const property = fc.asyncProperty(words, async (list) => {
    const path = await picture("hostile.png", ["ddim", "sample", ...list].join(" "));
    const { code, stdout, stderr } = await ddim(["sample", "--like", path, "-o", at("never.png")], world);
    expect([1, 2]).toContain(code);
    expect(stdout).toBe("");
    expect(stderr.replaceAll("\n", "")).not.toMatch(INVISIBLE);
    expect(stderr).not.toContain("internal");
  });
  await fc.assert(property, { numRuns: 60 });
});

test("previews and every picture of a run say how it was made", async () => {
  const run = [...SHORT, "-n", "2", "-b", "1", "--first-image", "4", "--seed", "2", "-q"];
  await works(...run, "-o", at("run.png"), "--save-steps", at("steps"));
  const preview = join("steps", "image-0005-step-0001.png");
  const text = await readPngText(readFileSync(at(preview)));
  expect(text.parameters).toContain("First image: 4");
  expect(await commandOf(preview)).toBe(`${await commandOf("run.png")} # images from 5, step 1`);
  await works("--like", at(preview), "-q", "-o", at("whole.png"));
  expect(await pixels("whole.png")).toEqual(await pixels("run.png"));
});
