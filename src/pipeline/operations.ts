/** What a pipeline does beside sampling, loaded with the first of it. */
export { findTaps } from "../unet/taps.ts";
export { edit } from "./edit.ts";
export { evalTerms } from "./evalTerms.ts";
export { evaluate, HeldEvaluation, profileEvaluation, timeEvaluation } from "./forward.ts";
export { fuse, interpolate } from "./interpolate.ts";
export { invert, reconstruct } from "./invert.ts";
export { evaluateTapped } from "./tapped.ts";
export { upscale } from "./upscale.ts";
