/** What a run records about an image in every step, without waiting for it. */
import { defineKernel, type Flags } from "../../runtime/kernel.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { cleanFunctions, imageThread, perImage, reduce } from "./perImage.ts";
import { type BoundFlags, PREDICTION_TENSORS } from "./prediction.ts";
import { RECORDS, updateRow } from "./records.ts";
import { stateVectors } from "./state.ts";

/**
 * statistics[frame.row · N + n] = smallest and largest finite x0 before it is bounded, the fraction beyond its bound (beyond
 * ±1 without one), and how many values are not finite.
 */
export const x0Statistics = defineKernel<BoundFlags>({
  name: "x0Statistics",
  tensors: {
    x: "in N H W C",
    ...PREDICTION_TENSORS,
    statistics: "inout *",
    factors: "in? *",
  },
  records: RECORDS,
  frame: true,
  variants: perImage(
    (k) => wgsl`
${k.header}
${cleanFunctions(k)}
var<workgroup> shared_values: array<vec4f, ${k.workgroup}>;
${imageThread(k)}
  let clip = ${updateRow(k)}.clip;
  let bound = ${k.flags.threshold ? `${k.load("factors", "n")}.threshold` : "select(1.0, clip, clip > 0.0)"};
  const most = 3.4028234e38;
  var seen = vec4f(most, -most, 0.0, 0.0);
  for (var e = thread; e < vectors; e += WG) {
    let v = clean_at(n, e);
    let exponent = bitcast<vec4u>(v) & vec4u(0x7f800000u);
    for (var c = 0u; c < min(4u, C - (e % C4) * 4u); c++) {
      if (exponent[c] == 0x7f800000u) { seen.w += 1.0; continue; }
      seen = vec4f(min(seen.x, v[c]), max(seen.y, v[c]), seen.z + select(0.0, 1.0, abs(v[c]) > bound), seen.w);
    }
  }
  shared_values[thread] = seen;
  ${reduce(k, (a, b) => `vec4f(min(${a}.x, ${b}.x), max(${a}.y, ${b}.y), ${a}.zw + ${b}.zw)`)}
  if (thread == 0u) {
    let all = shared_values[0];
    statistics[frame.row * N + n] = vec4f(all.xy, all.z / f32(H * W * C), all.w);
  }
}`,
  ),
  cost: (d, batch) => ({ flops: 40 * stateVectors(d, batch), bytes: 32 * stateVectors(d, batch) }),
});

/** statistics[frame.row · N + n].x = root mean square over the image of x - base, the base being slot `SLOT` of `history`. */
export const stateResidual = defineKernel<Flags>({
  name: "stateResidual",
  tensors: { x: "in N H W C", history: "in *", statistics: "inout *" },
  records: RECORDS,
  frame: true,
  variants: perImage(
    (k) => wgsl`
${k.header}
var<workgroup> shared_values: array<f32, ${k.workgroup}>;
${imageThread(k)}
  var sum = 0.0;
  for (var e = thread; e < vectors; e += WG) {
    let d = ${k.load("x", "n * vectors + e")} - ${k.load("history", "SLOT * N * vectors + n * vectors + e")};
    sum += dot(d, d);
  }
  shared_values[thread] = sum;
  ${reduce(k, (a, b) => `${a} + ${b}`)}
  if (thread == 0u) { statistics[frame.row * N + n] = vec4f(sqrt(shared_values[0] / f32(H * W * C)), vec3f()); }
}`,
  ),
  cost: (d, batch) => ({ flops: 12 * stateVectors(d, batch), bytes: 32 * stateVectors(d, batch) }),
});
