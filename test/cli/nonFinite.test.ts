/** --non-finite: one rule for numbers that are not finite, or that f16 cannot hold. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { encodeSafetensors } from "../../src/weights/encode.ts";
import { ddim } from "../support/cli.ts";
import { goldenPath, readFolder, readTensors, splitSafetensors, WEIGHTS } from "../support/models.ts";
import { rawSafetensors } from "../weights/memory-source.ts";

const folder = mkdtempSync(join(tmpdir(), "ddim-non-finite-"));
const path = (name: string) => join(folder, name);
const MODEL = goldenPath("pipelines/eps_clip");

function write(name: string, sample: Float32Array): string {
  const f32 = (shape: number[], data: Float32Array) => ({ dtype: "F32", shape, data }) as const;
  const bytes = encodeSafetensors({ sample: f32([1, 3, 16, 16], sample), timestep: f32([1], Float32Array.of(7)) });
  writeFileSync(path(name), bytes);
  return path(name);
}

/** A folder whose first convolution's bias is far beyond f16. */
function overflowing(): string {
  const files = readFolder(MODEL);
  const { header, data } = splitSafetensors(files[WEIGHTS]!);
  data.set(new Uint8Array(Float32Array.of(1e7).buffer), header["conv_in.bias"]!.data_offsets[0]);
  const { mkdirSync } = process.getBuiltinModule("node:fs");
  for (const [name, bytes] of Object.entries({ ...files, [WEIGHTS]: rawSafetensors(header, data) })) {
    mkdirSync(dirname(join(folder, "model", name)), { recursive: true });
    writeFileSync(join(folder, "model", name), bytes);
  }
  return path("model");
}

test("forward refuses an input that is not finite, or goes on with a warning", async () => {
  const input = write("in.safetensors", new Float32Array(768).fill(0.1).with(5, Number.NaN));
  const args = ["forward", "-m", MODEL, "--input", input, "-o", path("out.safetensors")];
  const refused = await ddim(args);
  expect(refused).toMatchObject({ code: 1, stdout: "" });
  expect(refused.stderr).toBe(`ddim: ${input}: tensor "sample" holds NaN at position 5\n`);
  const { code, stderr } = await ddim([...args, "--non-finite", "warn"]);
  expect(code).toBe(0);
  expect(stderr).toContain("warning: sample holds NaN in image 0\nwarning: the output holds NaN in image 0\n");
  const { output } = await readTensors(path("out.safetensors"));
  expect(output?.data.some(Number.isNaN)).toBe(true);
});

test("sample, forward and doctor name the layer that f16 cannot hold", async () => {
  const model = overflowing();
  const sample = ["sample", "-m", model, "-S", "2", "--dtype", "f16", "-o", path("x.png")];
  const refused = await ddim(sample);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/ddim: conv_in has numbers beyond 65504.* at step 0 \(t = 500\).*: use dtype f32\n$/);
  const input = write("fine.safetensors", new Float32Array(768).fill(0.1));
  const forward = await ddim(["forward", "-m", model, "--dtype", "f16", "--input", input, "-o", path("y.safetensors")]);
  expect(forward.code).toBe(1);
  expect(forward.stderr).toMatch(/ddim: conv_in has numbers beyond 65504/);
  const warned = await ddim([...sample, "--non-finite", "warn"]);
  expect(warned.code).toBe(0);
  expect(warned.stderr).toMatch(/warning: conv_in has numbers beyond 65504/);
  expect((await ddim(["inspect", path("x.png")])).stdout).toMatch(/command: ddim sample .* --non-finite warn /);
  const doctor = await ddim(["doctor", "-m", model, "-q"]);
  expect(doctor.code).toBe(1);
  expect(doctor.stdout).toMatch(/FAILED model in f16: conv_in has numbers beyond 65504/);
});
