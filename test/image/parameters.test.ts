/** Parameters in a PNG file: complete in our JSON, readable by other tools in diffusion-webui's line. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  formatParameters,
  type GenerationParameters,
  parseInfotext,
  parseParameters,
  parsePrompts,
} from "../../src/image/parameters.ts";
import { encodePng } from "../../src/image/png.ts";
import { readPngText } from "../../src/image/pngText.ts";
import { FileError } from "../../src/runtime/errors.ts";

const least: GenerationParameters = {
  model: "pixel-avatars-16",
  seed: "18446744073709551615",
  count: 16,
  steps: 50,
  eta: 0,
  sampler: "ddim",
  spacing: "leading",
  compat: "none",
  guidance: 1,
  clip: true,
  dtype: "f32",
  rng: "philox",
  size: { width: 16, height: 16 },
  adapter: "llvmpipe",
  command: "ddim sample -n 16 --seed 18446744073709551615",
  version: "0.1.0",
};

const full: GenerationParameters = {
  ...least,
  model: 'a "model", in: C:\\temp\nλ',
  modelHash: "0123abcd",
  timesteps: [999, 500, 0],
  classes: [0, 3],
  eta: 0.25,
  clip: false,
  adapter: "llvmpipe (LLVM 19.1.7, 256 bits)",
  variants: "fedc",
};

describe("formatParameters and parseParameters", () => {
  it.each([least, full])("give back what went through a PNG file (%#)", async (parameters) => {
    const image = { width: 1, height: 1, data: Uint8ClampedArray.of(0, 0, 0, 255) };
    const png = await encodePng(image, formatParameters(parameters));
    expect(parseParameters(await readPngText(png))).toEqual(parameters);
  });

  it("write the line that diffusion-webui writes", () => {
    expect(formatParameters(least).parameters).toBe(
      "Steps: 50, Sampler: DDIM, Schedule type: leading, CFG scale: 1, Seed: 18446744073709551615, Size: 16x16, " +
        "Model: pixel-avatars-16, Eta: 0, Count: 16, Clip: yes, Compat: none, Dtype: f32, RNG: philox, " +
        "Adapter: llvmpipe, Command: ddim sample -n 16 --seed 18446744073709551615, Version: ddim-webgpu 0.1.0",
    );
  });

  it("find nothing in a file that is not ours", () => {
    expect(parseParameters({ parameters: "Steps: 20, Sampler: Euler a, Seed: 1" })).toBeUndefined();
  });

  it.each(["{", "null", "3", "[]", "{}"])("refuse the chunk %s", (json) => {
    expect(() => parseParameters({ "ddim-webgpu": json }, "a.png")).toThrow(FileError);
    expect(() => parseParameters({ "ddim-webgpu": json }, "a.png")).toThrow('a.png: its text "ddim-webgpu"');
  });

  it.each([
    ["seed", 7],
    ["seed", "18446744073709551616"],
    ["seed", "-1"],
    ["steps", 0],
    ["steps", "50"],
    ["count", 1.5],
    ["eta", null],
    ["clip", "yes"],
    ["size", { width: 16 }],
    ["size", null],
    ["timesteps", ["999"]],
    ["classes", 3],
    ["modelHash", 1],
    ["command", undefined],
  ])("refuse %s = %j", (key, value) => {
    const json = JSON.stringify({ ...least, [key]: value });
    expect(() => parseParameters({ "ddim-webgpu": json })).toThrow(`has no valid "${key}"`);
  });
});

describe("parseInfotext", () => {
  it("reads our own line, quoted values and all", () => {
    const fields = parseInfotext(formatParameters(full).parameters!);
    expect(fields).toMatchObject({
      Steps: "50",
      Model: full.model,
      Size: "16x16",
      Timesteps: "999 500 0",
      Clip: "no",
      Adapter: full.adapter,
      Version: "ddim-webgpu 0.1.0",
    });
    expect(Object.keys(fields)).toHaveLength(20);
  });

  it("reads the last line of a picture of diffusion-webui", () => {
    const text =
      "a cat, sitting: calm\nNegative prompt: dog, blurry\n" +
      'Steps: 20, Sampler: DPM++ 2M, CFG scale: 7.5, Seed: 42, Size: 512x768, Model: v1, Lora hashes: "a: 1, b: 2", Eta: 0.1';
    expect(parseInfotext(text)).toEqual({
      Steps: "20",
      Sampler: "DPM++ 2M",
      "CFG scale": "7.5",
      Seed: "42",
      Size: "512x768",
      Model: "v1",
      "Lora hashes": "a: 1, b: 2",
      Eta: "0.1",
    });
  });

  it("parts prompts from settings as diffusion-webui does", () => {
    const settings = "Steps: 20, Sampler: DDIM, Seed: 1";
    expect(parsePrompts(`a: b, c\n${settings}`)).toEqual({ prompt: "a: b, c" });
    expect(parsePrompts(`Negative prompt: x\ny\n${settings}`)).toEqual({ negativePrompt: "x\ny" });
    expect(parsePrompts(`one\ntwo\nNegative prompt: Steps: 3\n${settings}`)).toEqual({
      prompt: "one\ntwo",
      negativePrompt: "Steps: 3",
    });
    expect(parsePrompts("a cat, sitting: calm")).toEqual({ prompt: "a cat, sitting: calm" });
    expect(parseInfotext("a cat, sitting: calm")).toEqual({});
    expect(parsePrompts(settings)).toEqual({});
    expect(parsePrompts("")).toEqual({});
  });

  it("takes time in proportion to the text, whatever stands in it", () => {
    const settings = "Steps: 3, Sampler: DDIM";
    expect(parseInfotext(`${settings}, 1 words "without: 2" a colon, b: 4`)).toEqual({
      Steps: "3",
      Sampler: "DDIM",
      without: '2" a colon',
      b: "4",
    });
    const began = performance.now();
    for (const filler of ["a", "a ", "1", "a1", '\\"', '"', "a:", ",a"])
      expect(parseInfotext(`${settings}, ${filler.repeat(2 ** 20 / filler.length)}`)).toHaveProperty("Steps", "3");
    expect(performance.now() - began).toBeLessThan(5000);
  });

  it("finds nothing where there is nothing", () => {
    expect(parseInfotext("")).toEqual({});
    expect(parseInfotext("just a prompt")).toEqual({});
  });
});

describe("parseInfotext", () => {
  it("finds what diffusion-webui's pattern finds", () => {
    const piece = fc.constantFrom(":", ",", '"', "\\", " ", "a", "B c", "1", '\\"', "Steps: 1, ", "é", ": x");
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 25 }), (pieces) => {
        const line = `Steps: 20, ${pieces.join("")}`.trim();
        const found = [...line.matchAll(/([A-Za-z][^,:"]*):\s*("(?:[^"\\]|\\.)*"|[^,]*)/g)].map(([, key]) => key);
        expect(Object.keys(parseInfotext(line)).sort()).toEqual([...new Set(found)].sort());
      }),
      { numRuns: 2000 },
    );
  });

  it("takes no time to see that a mebibyte of letters holds no setting", () => {
    expect(parseInfotext("a".repeat(2 ** 20))).toEqual({});
    expect(parseInfotext(`Steps: ${"b ".repeat(2 ** 19)}`)).toEqual({ Steps: "b ".repeat(2 ** 19).trim() });
  });
});
