// The weights of goldens that are kept as a recipe, and what the repository weighs.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { stored, valuesOf, writeGoldenWeights } from "../../scripts/goldens.mjs";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const halves = (values: Float32Array, dtype: "F16" | "BF16") => [...new Uint16Array(stored(values, dtype).buffer)];

describe("weights from a recipe", () => {
  // What test/golden/seeded.py and torch's conversions say.
  it("are the numbers that Python makes", () => {
    expect([...valuesOf("conv_in.weight", [[2, 3], 0.5, 0.75])]).toEqual([
      0.7620806097984314, 0.6953977346420288, 0.12503865361213684, 0.2694748342037201, 0.5927747488021851,
      0.18737158179283142,
    ]);
    const small = valuesOf("norm.bïas", [[3], 0, 1e-4]);
    expect(halves(small, "F16")).toEqual([665, 398, 699]);
    expect(halves(small, "BF16")).toEqual([14374, 14279, 14383]);
  });

  it("are rounded half to even, below the normal numbers, too", () => {
    const values = Float32Array.of(
      ...[1 + 2 ** -11, 1 + 3 * 2 ** -11, -0.1, 65504, 2 ** -14, -2.5 * 2 ** -24, 3.5 * 2 ** -24, 1e-9, 0],
      ...[1 + 2 ** -8, 1 + 3 * 2 ** -8, 2 ** -14 - 2 ** -26],
    );
    expect(halves(values, "F16")).toEqual([15360, 15362, 44646, 31743, 1024, 32770, 4, 0, 0, 15364, 15372, 1024]);
    expect(halves(values, "BF16")).toEqual([
      16256, 16256, 48589, 18304, 14464, 46112, 13408, 12425, 0, 16256, 16258, 14464,
    ]);
  });

  describe("in a folder", () => {
    let folder: string;
    const NAME = "models/ddpm_bf16/unet/diffusion_pytorch_model.safetensors";
    beforeAll(() => {
      folder = mkdtempSync(join(tmpdir(), "ddim-goldens-"));
      const recipes = JSON.parse(readFileSync(join(ROOT, "test/golden/weights.json"), "utf8"));
      writeFileSync(
        join(folder, "weights.json"),
        JSON.stringify({ [NAME]: { ...recipes[NAME], tensors: recipes[recipes[NAME].tensors].tensors } }),
      );
    });
    afterAll(() => rmSync(folder, { recursive: true }));

    it("are written where they are missing or others, and otherwise left alone", () => {
      const path = join(folder, NAME);
      writeGoldenWeights(folder);
      const file = readFileSync(path);
      expect(file.equals(readFileSync(join(ROOT, "test/golden", NAME)))).toBe(true);
      const { ino } = statSync(path);
      writeGoldenWeights(folder);
      expect(statSync(path).ino).toBe(ino);
      writeFileSync(path, file.subarray(1));
      writeGoldenWeights(folder);
      expect(readFileSync(path).equals(file)).toBe(true);
    });
  });
});

const listed = spawnSync("git", ["ls-files", "-z"], { cwd: ROOT, encoding: "utf8" });
const tracked = listed.status === 0 ? listed.stdout.split("\0").filter(Boolean) : [];

// A clone, and what travels to a machine with a GPU beside its bundle (tools/gpu).
test.skipIf(tracked.length === 0)("the tracked files stay under 34 MiB, and none is one that a recipe makes", () => {
  const sizes = tracked.map((file) => statSync(join(ROOT, file), { throwIfNoEntry: false })?.size ?? 0);
  expect(sizes.reduce((a, b) => a + b)).toBeLessThan(34 * 2 ** 20);
  const made = Object.keys(JSON.parse(readFileSync(join(ROOT, "test/golden/weights.json"), "utf8")));
  expect(tracked.filter((file) => made.includes(file.replace("test/golden/", "")))).toEqual([]);
});
