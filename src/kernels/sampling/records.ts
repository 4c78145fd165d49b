/** What the host tells the sampler's kernels: about the run and its images, and row by row of its plan. */
import type { Codegen, Flags } from "../../runtime/kernel.ts";
import { type RecordOf, Struct } from "../../runtime/struct.ts";

export const imageRecord = new Struct("Image", {
  number: ["u32", "images", "those before it among all that the seed makes"],
  sign: ["u32", "bits", "0x80000000 where its noise is negated, else 0"],
  guidance: ["f32", "1", "guidance scale w"],
});

export const runRecord = new Struct("Run", {
  seedLow: ["u32", "bits", "0 to 31 of the seed"],
  seedHigh: ["u32", "bits", "32 to 63 of the seed"],
  rescale: ["f32", "1", "φ of guidance rescale"],
  images: [imageRecord, "", "of the batch"],
});

/**
 * What follows an evaluation. With x the state, m the network's output after guidance and z standard normal noise:
 *
 *   x0 = bound(k0 x + k1 m);   x ← k2 x0 + k3 x + k4 m + σ z
 *
 * and in plans that remember, where v_1, v_2, … are past values of v_0 and the base is a past x:
 *
 *   v_0 = value · (x, m, x0);   x ← k3 x + base · (the base) + Σ weights_k v_k + σ z
 */
export const updateRecord = new Struct("Update", {
  k0: ["f32", "1", "x in x0"],
  k1: ["f32", "1", "m in x0"],
  clip: ["f32", "x0", "its bound; 0: none, or a threshold"],
  guided: ["flag", "", "guidance acts"],
  k2: ["f32", "1", "x0 in the new x; not in plans that remember"],
  k3: ["f32", "1", "x in the new x"],
  k4: ["f32", "1", "m in the new x; not in plans that remember"],
  sigma: ["f32", "x", "σ, the standard deviation of what noise is added; 0: none"],
  logMin: ["f32", "ln x²", "of a learned variance, at −1 of the network's"],
  logMax: ["f32", "ln x²", "the same at 1"],
  learned: ["flag", "", "the variance is the network's, between these two, and not σ²"],
  base: ["f32", "1", "the base in the new x"],
  value: ["vec3f", "1", "x, m and x0 in v_0"],
  cursor: ["u32", "slots", "where v_1 lies"],
  weights: ["vec4f", "1", "v_0 to v_3 in the new x"],
  push: ["flag", "", "v_0 is kept, and is v_1 from then on"],
  save: ["flag", "", "the old x becomes the base"],
});
export type Update = RecordOf<typeof updateRecord.fields>;

/** Before an evaluation: x ← keep · x + noise · z, and the level of known pixels. */
export const levelRecord = new Struct("Level", {
  keep: ["f32", "1", "x in the noisier x of a jump back; 1 without"],
  noise: ["f32", "x", "standard deviation of the noise that a jump back adds; 0 without"],
  signal: ["f32", "1", "√ᾱ, known pixels in x"],
  spread: ["f32", "x", "√(1 − ᾱ), the standard deviation of their noise"],
});

/** By image; made by the kernels of factors.ts. */
export const factorRecord = new Struct("Factors", {
  rescale: ["f32", "1", "of the guided output"],
  threshold: ["f32", "x0", "its bound, and what it is divided by"],
});

/** The records among the tensors of the sampler's kernels. */
export const RECORDS = { run: runRecord, updates: updateRecord, levels: levelRecord, factors: factorRecord };

/** Expression: the row of the plan that is under way. */
export const updateRow = (k: Codegen<Flags>): string => k.load("updates", "frame.row");
