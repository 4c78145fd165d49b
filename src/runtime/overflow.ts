/**
 * Which dispatches had numbers that f16 cannot hold. A kernel that stores f16 writes at its own place of `overflow`, u32
 * [1 + dispatches]: word 0 is the step under way, word i + 1 becomes the first step in which dispatch i stored a number
 * beyond 65504. The number itself is stored as ±65504, on every adapter alike; what is no number stays as it is.
 */
import type { Value } from "./values.ts";

/** Stands for the words of whichever program a kernel runs in. */
export const OVERFLOW: Value = {
  id: -1,
  name: "overflow",
  shape: [1],
  batched: false,
  dtype: "u32",
  storage: "buffer",
  segments: [1],
};

export const NEVER = 0xffffffff;

/** A layer whose numbers left f16's range. */
export interface Overflow {
  /** Path of the layer, or the name of the weights. */
  readonly layer: string;
  /** The first step in which they did. */
  readonly step: number;
}

/** Half of the last bit of 65504, the largest f16, above it: from here on a number rounds to infinity. */
const LIMIT = "vec4f(65520.0)";

/**
 * `held(v)`: v as f16 can hold it. Without a place to say that something did not fit, it becomes infinite, which the
 * sampler and whoever reads a result back notice.
 * @param recorded whether the kernel binds `overflow`
 */
export const heldFunction = (recorded: boolean): string => `
fn held(v: vec4f) -> vec4f {
  if (all(abs(v) < ${LIMIT})) { return v; }
  ${recorded ? "atomicMin(&overflow[params.DISPATCH + 1u], atomicLoad(&overflow[0]));" : ""}
  let bits = bitcast<vec4u>(v);
  let finite = (bits & vec4u(0x7f800000u)) != vec4u(0x7f800000u);
  let most = bitcast<vec4f>((bits & vec4u(0x80000000u)) | vec4u(${recorded ? "0x477fe000u" : "0x7f800000u"}));
  return select(v, most, finite & (abs(v) >= ${LIMIT}));
}`;
