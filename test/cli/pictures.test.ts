/** Pictures on the command line: limits on every command that reads them, and what `inspect` tells without reading pixels. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { deflateSync } from "node:zlib";
import { expect, test } from "vitest";
import { encodePng } from "../../src/image/png.ts";
import { type PngChunk, readChunks, writeChunks } from "../../src/image/pngChunks.ts";
import { ddim, scratchFolder } from "../support/cli.ts";
import { goldenPath } from "../support/models.ts";
import { claimedPng } from "../support/pngFile.ts";

const scratch = scratchFolder();
const image = { width: 4, height: 4, data: new Uint8ClampedArray(64).fill(255) };

function file(name: string, bytes: Uint8Array): string {
  const path = join(scratch, name);
  writeFileSync(path, bytes);
  return path;
}

async function withChunks(name: string, ...chunks: PngChunk[]): Promise<string> {
  const [head, ...rest] = readChunks(await encodePng(image), name);
  return file(name, writeChunks([head!, ...chunks, ...rest]));
}

const zTXt = (bytes: number) => ({
  type: "zTXt",
  data: Buffer.concat([Buffer.from("key\0\0"), deflateSync(Buffer.alloc(bytes, 65))]),
});

test("every command that reads pictures takes --max-pixels and refuses larger ones", async () => {
  const path = file("small.png", await encodePng(image));
  const vae = goldenPath("autoencoders/kl/vae");
  const commands = [
    ["noise", path, "-t", "1"],
    ["edit", path],
    ["invert", path],
    ["interpolate", path, path],
    ["fuse", path, path],
    ["eval", path],
    ["encode", "-m", vae, path],
  ];
  for (const args of commands) {
    const output = args[0] === "eval" ? [] : ["-o", join(scratch, args[0] === "encode" ? "x.safetensors" : "x.png")];
    const { code, stderr } = await ddim([...args, ...output, "--max-pixels", "15"]);
    expect([args[0], code]).toEqual([args[0], 1]);
    expect(stderr).toBe(
      `ddim: ${path}: has 4 x 4 pixels, more than the limit of 15; --max-pixels N (library: maxPixels) raises it\n`,
    );
  }
  expect((await ddim(["noise", path, "-t", "1", "--max-pixels", "0"])).code).toBe(2);
  const mask = file("mask.png", claimedPng(9000, 9000));
  const { code, stderr } = await ddim(["edit", path, "--mask", mask, "-o", join(scratch, "y.png")]);
  expect([code, stderr.split("\n").at(-2)]).toEqual([
    1,
    `ddim: ${mask}: has 9000 x 9000 pixels, more than the limit of 64000000; --max-pixels N (library: maxPixels) raises it`,
  ]);
});

test("what a picture has beyond its end is a warning", async () => {
  const path = file("more.png", Buffer.concat([await encodePng(image), Buffer.alloc(20)]));
  const args = ["noise", path, "-t", "1", "-o", join(scratch, "noisy.png")];
  const { code, stderr } = await ddim(args);
  expect(code).toBe(0);
  expect(stderr).toContain(`warning: ${path}: 20 bytes after its end were passed over\n`);
  expect((await ddim([...args, "--overwrite", "-q"])).stderr).toBe("");
});

test("inspect tells the size of pictures however large, from their headers", async () => {
  const told = async (path: string) => (await ddim(["inspect", path])).stdout.split("\n")[0];
  const huge = file("huge.png", claimedPng(23, 33554451));
  expect(await told(huge)).toBe(`${huge}: PNG, 23 x 33554451`);
  const broken = file(
    "broken.png",
    (await encodePng(image)).map((byte, i, all) => (i === all.length - 20 ? byte ^ 1 : byte)),
  );
  expect(await told(broken)).toBe(`${broken}: PNG, 4 x 4`);
  for (const [name, kind] of [
    ["420.jpg", "JPEG"],
    ["lossy.webp", "WebP"],
    ["alpha.webp", "WebP"],
    ["animated.webp", "WebP"],
    ["lossless.webp", "WebP"],
  ] as const) {
    const path = join(goldenPath("pictures"), name);
    expect(await told(path)).toBe(`${path}: ${kind}, 21 x 17`);
  }
  expect((await ddim(["inspect", file("cut.png", claimedPng(3, 3).subarray(0, 50))])).stderr).toContain("is cut off");
});

test("inspect reads a mebibyte of text and no more", async () => {
  const { code, stdout } = await ddim(["inspect", await withChunks("much.png", zTXt(2 ** 20 - 5000)), "--json"]);
  expect(code).toBe(0);
  expect(JSON.parse(stdout).text.key).toBe("A".repeat(2 ** 20 - 5000));
  const bombs = [
    await withChunks("bomb.png", zTXt(2 ** 26)),
    await withChunks("bombs.png", ...Array.from({ length: 40 }, () => zTXt(2 ** 15))),
    await withChunks("long.png", { type: "tEXt", data: Buffer.alloc(2 ** 20 + 1, 65) }),
  ];
  for (const path of bombs) {
    const refused = await ddim(["inspect", path]);
    expect([refused.code, refused.stdout]).toEqual([1, ""]);
    expect(refused.stderr).toMatch(/more than 1048576 bytes/);
  }
  // A profile is not read, so what it would inflate to does not matter.
  const profile = { type: "iCCP", data: Buffer.concat([Buffer.from("p\0\0"), deflateSync(Buffer.alloc(2 ** 26))]) };
  expect((await ddim(["inspect", await withChunks("profile.png", profile)])).code).toBe(0);
});

test("inspect shows the prompts of diffusion-webui before its settings", async () => {
  const parameters =
    'a cat (sitting:1.2), calm\nsecond line, "quoted"\nNegative prompt: dog\nblurry\nSteps: 20, Sampler: DDIM, CFG scale: 7, Seed: 4';
  const path = file("webui.png", await encodePng(image, { parameters }));
  expect((await ddim(["inspect", path])).stdout).toBe(
    [
      `${path}: PNG, 4 x 4`,
      '  prompt: a cat (sitting:1.2), calm\\nsecond line, "quoted"',
      "  negative prompt: dog\\nblurry",
      "  Steps: 20",
      "  Sampler: DDIM",
      "  CFG scale: 7",
      "  Seed: 4",
      "",
    ].join("\n"),
  );
  expect(JSON.parse((await ddim(["inspect", path, "--json"])).stdout)).toMatchObject({
    prompt: 'a cat (sitting:1.2), calm\nsecond line, "quoted"',
    negative_prompt: "dog\nblurry",
    parameters: null,
    text: { parameters },
  });
});

test("parameters of ours that are damaged are a warning, and shown as text", async () => {
  const text = '{"model":"x","classes":["__proto__"]}';
  const path = file("own.png", await encodePng(image, { "ddim-webgpu": text }));
  const { code, stdout, stderr } = await ddim(["inspect", path]);
  expect([code, stdout]).toEqual([0, `${path}: PNG, 4 x 4\n  ddim-webgpu: ${text}\n`]);
  expect(stderr).toBe(`warning: ${path}: its text "ddim-webgpu" has no valid "seed"\n`);
});
