/** Numbers that f16 cannot hold, in a whole network: named with layer and step, as error or as warning. */
import { describe, expect, test } from "vitest";
import { NonFiniteError } from "../../src/runtime/errors.ts";
import { goldenPath, load, readFolder, sourceOf, splitSafetensors, WEIGHTS } from "../support/models.ts";
import { rawSafetensors } from "../weights/memory-source.ts";

const FOLDER = goldenPath("pipelines/eps_clip");

/** The model with one F32 tensor multiplied. */
function scaled(tensor: string, factor: number) {
  const { header, data } = splitSafetensors(readFolder(FOLDER)[WEIGHTS]!);
  const [from, to] = header[tensor]!.data_offsets as [number, number];
  const bytes = data.slice(from, to);
  const values = new Float32Array(bytes.buffer).map((v) => v * factor);
  data.set(new Uint8Array(values.buffer), from);
  return sourceOf(FOLDER, { [WEIGHTS]: rawSafetensors(header, data) });
}

const sample = { shape: [1, 3, 16, 16], data: new Float32Array(768).fill(0.5) };

describe("f16", () => {
  const layer = "conv_in";
  test("a layer that leaves its range is named", async () => {
    const source = scaled("conv_in.bias", 1e7);
    using full = await load(source);
    expect((await full.generate({ steps: 2, seed: 1, spacing: "trailing" })).warnings).toEqual([]);
    using half = await load(source, { dtype: "f16" });
    const error = await half.generate({ steps: 2, seed: 1, spacing: "trailing" }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(NonFiniteError);
    expect(error).toMatchObject({ layer, step: 0 });
    expect((error as Error).message).toMatch(
      /^conv_in has numbers beyond 65504.*at step 0 \(t = \d+\).*: use dtype f32$/,
    );
    await expect(half.network.forward({ sample, timestep: [3] })).rejects.toThrow(/^conv_in has numbers beyond 65504/);
  });

  test("weights beyond it are named when they are loaded", async () => {
    const source = scaled("mid_block.resnets.0.conv1.weight", 1e7);
    await expect(load(source, { dtype: "f16" })).rejects.toThrow(
      /^mid_block.resnets.0.conv1.weight has numbers beyond/,
    );
    const warnings: string[] = [];
    using half = await load(source, { dtype: "f16", nonFinite: "warn", onWarning: (text) => warnings.push(text) });
    expect(warnings).toEqual([expect.stringMatching(/^mid_block.resnets.0.conv1.weight has numbers beyond/)]);
    expect(half.network.dtype).toBe("f16");
  });

  test("with nonFinite warn the run goes on and its result says so", async () => {
    const warned: string[] = [];
    const onWarning = (text: string) => warned.push(text);
    using half = await load(scaled("conv_in.bias", 1e7), { dtype: "f16", nonFinite: "warn", onWarning });
    const { images, warnings } = await half.generate({ steps: 2, seed: 1, spacing: "trailing" });
    expect(images).toHaveLength(1);
    expect(warnings).toEqual([expect.stringMatching(/^conv_in has numbers beyond 65504/)]);
    expect(warned.splice(0)).toEqual([warnings.at(-1)]);
    const { data } = await half.network.forward({ sample, timestep: [3] });
    expect(data.every(Number.isFinite)).toBe(true);
    expect(warned).toEqual([expect.stringMatching(/^conv_in has numbers beyond 65504/)]);
  });
});
