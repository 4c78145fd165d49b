/** Saved runs of version 0.1.0's format 2: what identifies them stays, however the rows of a plan are kept in memory. */
import { expect, it } from "vitest";
import { folderSource } from "../../src/node/folder.ts";
import { openModel } from "../../src/pipeline/model.ts";
import { resolveRun } from "../../src/pipeline/run.ts";
import { fingerprint } from "../../src/pipeline/saved.ts";
import type { GenerateOptions } from "../../src/pipeline/types.ts";
import { shippedPath } from "../support/models.ts";

const noise = { shape: [1, 3, 16, 16], data: Float32Array.from({ length: 768 }, (_, i) => Math.sin(i)) };
const mask = { shape: [1, 1, 16, 16], data: Float32Array.from({ length: 256 }, (_, i) => i % 2) };
const kept: [string, GenerateOptions][] = [
  ["2-5ebe5f71ac94f8fd", {}],
  ["2-a71856a4832edbe1", { sampler: "ddpm", threshold: { ratio: 0.9, max: 3 } }],
  ["2-df24fc3c4aa27350", { eta: 0.3, guidance: [2, 1], guidanceInterval: [100, 900], guidanceRescale: 0.5 }],
  ["2-b765f9fef97a7b1b", { sampler: "dpmpp2m" }],
  ["2-9e8eddeab1ee925d", { sampler: "plms", clip: false, guidance: 3 }],
  ["2-03ec490653b08d74", { noise, inpaint: { known: noise, mask, repaint: { jump: 2, resamples: 2 } }, eta: 1 }],
];

it.each(kept)("%s", async (expected, options) => {
  const model = await openModel(folderSource(shippedPath("pixel-avatars-16")));
  expect(fingerprint("model", resolveRun(model, { steps: 5, seed: 3, ...options }))).toBe(expected);
});
