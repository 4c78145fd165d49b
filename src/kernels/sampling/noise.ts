/** Noise that is not a step's own: the start, the forward process of in-painting's known pixels, and jumps back up. */
import { defineKernel } from "../../runtime/kernel.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { maskChannels } from "../parts/normal.ts";
import { RECORDS } from "./records.ts";
import {
  KNOWN_WORD,
  NOISE_FUNCTIONS,
  type NoiseSource,
  normal,
  perVector,
  RENOISE_WORD,
  type StateFlags,
  stateVectors,
  storeState,
} from "./state.ts";

/** x = x_T of the run's images. */
export const initialNoise = defineKernel<StateFlags>({
  name: "initialNoise",
  records: RECORDS,
  tensors: { run: "in *", x: "out N H W C" },
  variants: perVector(
    () => NOISE_FUNCTIONS,
    (k) => wgsl`
  var z = ${normal("0xffffffffu")};
  ${maskChannels("z", "c4")}
  ${storeState(k, "z")}`,
  ),
  cost: (d, batch) => ({ flops: 0, bytes: 16 * stateVectors(d, batch) }),
});

export interface PrepareFlags extends StateFlags {
  /** Where the forward process takes its noise; `given` is the tensor z. */
  noise: Exclude<NoiseSource, "none">;
}

/**
 * Before an evaluation: x ← keep x + noise z (a jump back to a noisier level, RePaint), then, with a mask, latent-diffusion's
 * blend: x ← mask (signal known + spread z') + (1 - mask) x. By the row of `levels`.
 */
export const prepareState = defineKernel<PrepareFlags>({
  name: "prepareState",
  tensors: {
    x: "inout N H W C",
    levels: "in *",
    run: "in *",
    known: "in? N H W C",
    mask: "in? N H W C",
    z: "in? N H W C",
  },
  records: RECORDS,
  frame: true,
  variants: perVector(
    ({ flags }) => (flags.noise === "philox" ? NOISE_FUNCTIONS : ""),
    (k) => wgsl`
  let level = ${k.load("levels", "frame.row")};
  var next = ${k.load("x", "i")};
  #if ${k.flags.noise === "philox"}
  if (level.noise > 0.0) {
    var jump = ${normal(`${RENOISE_WORD}u + frame.row`)};
    ${maskChannels("jump", "c4")}
    next = level.keep * next + level.noise * jump;
  }
  #endif
  #if ${k.has("known")}
  var z = ${k.flags.noise === "given" ? k.load("z", "i") : normal(`${KNOWN_WORD}u + frame.row`)};
  ${maskChannels("z", "c4")}
  let keep = ${k.has("known") ? k.load("mask", "i") : ""};
  next = keep * (level.signal * ${k.has("known") ? k.load("known", "i") : ""} + level.spread * z) + (1.0 - keep) * next;
  #endif
  ${storeState(k, "next")}`,
  ),
  cost: (d, batch) => ({ flops: 32 * stateVectors(d, batch), bytes: 64 * stateVectors(d, batch) }),
});

/** x ← mask known + (1 - mask) x: the final paste of what was to be kept. */
export const pasteKnown = defineKernel<StateFlags>({
  name: "pasteKnown",
  tensors: { x: "inout N H W C", known: "in N H W C", mask: "in N H W C" },
  variants: perVector(
    () => "",
    (k) => wgsl`
  let keep = ${k.load("mask", "i")};
  let next = keep * ${k.load("known", "i")} + (1.0 - keep) * ${k.load("x", "i")};
  ${storeState(k, "next")}`,
  ),
  cost: (d, batch) => ({ flops: 12 * stateVectors(d, batch), bytes: 64 * stateVectors(d, batch) }),
});
