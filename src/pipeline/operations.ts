/** What a pipeline does beside sampling, loaded with the first of it. */
export { edit } from "./edit.ts";
export { evalTerms } from "./evalTerms.ts";
export { benchmark, forward, hold, profile } from "./forward.ts";
export { fuse, interpolate } from "./interpolate.ts";
export { invert, reconstruct } from "./invert.ts";
export { taps } from "./tapped.ts";
export { upscale } from "./upscale.ts";
