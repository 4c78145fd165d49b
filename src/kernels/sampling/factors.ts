/** What a step needs to know of an image as a whole: the guided output's scale, and the threshold of x0. */
import { defineKernel } from "../../runtime/kernel.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { maskChannels } from "../parts/normal.ts";
import { cleanFunctions, imageThread, perImage, reduce } from "./perImage.ts";
import { guidanceFunctions, PREDICTION_TENSORS, type PredictionFlags } from "./prediction.ts";
import { RECORDS } from "./records.ts";
import { type StateFlags, stateVectors } from "./state.ts";

/**
 * factors[n].rescale = φ std(m_c)/std(m) + 1 - φ with the unbiased standard deviations over C, H, W of the conditional and the
 * guided output (diffusers, rescale_noise_cfg; Lin et al. 2023, section 3.4).
 */
export const guidanceRescale = defineKernel<StateFlags>({
  name: "guidanceRescale",
  tensors: { x: "in N H W C", ...PREDICTION_TENSORS, factors: "inout *" },
  records: RECORDS,
  frame: true,
  variants: perImage((k) => {
    const read = wgsl`
    let at = (n * H * W + e / C4) * O4 + e % C4;
    let conditional = ${k.load("m", "at")};
    let free = ${k.load("m", "at + N * H * W * O4")};
    var a = conditional - mean.x;
    var b = free + w * (conditional - free) - mean.y;
    ${maskChannels("a", "e % C4")}
    ${maskChannels("b", "e % C4")}`;
    return wgsl`
${k.header}
${guidanceFunctions(k)}
var<workgroup> shared_values: array<vec2f, ${k.workgroup}>;
${imageThread(k)}
  if (!guides(n)) { return; }
  let w = weight(n);
  let count = f32(H * W * C);
  var mean = vec2f();
  var sum = vec2f();
  for (var e = thread; e < vectors; e += WG) {
    ${read}
    sum += vec2f(a.x + a.y + a.z + a.w, b.x + b.y + b.z + b.w);
  }
  shared_values[thread] = sum;
  ${reduce(k, (a, b) => `${a} + ${b}`)}
  mean = shared_values[0] / count;
  workgroupBarrier();
  sum = vec2f();
  for (var e = thread; e < vectors; e += WG) {
    ${read}
    sum += vec2f(dot(a, a), dot(b, b));
  }
  shared_values[thread] = sum;
  ${reduce(k, (a, b) => `${a} + ${b}`)}
  let squares = shared_values[0];
  let phi = run.rescale;
  // Both have count - 1 in the denominator. A constant output has nothing to be rescaled to.
  let ratio = select(1.0, sqrt(squares.x / squares.y), squares.y > 0.0);
  if (thread == 0u) { factors[n].rescale = phi * ratio + 1.0 - phi; }
}`;
  }),
  cost: (d, batch) => ({ flops: 64 * stateVectors(d, batch), bytes: 64 * stateVectors(d, batch) }),
});

export interface ThresholdFlags extends PredictionFlags {
  ratio: number;
  max: number;
}

/**
 * factors[n].threshold = the `ratio` quantile of |x0| over the image, clamped to 1..max (a maximum below 1 wins, as in torch):
 * dynamic thresholding of Saharia et al. 2022. The quantile is exact, as torch.quantile's: the order statistic is found
 * digit by digit of its bits, which order positive floats, and interpolated linearly with its successor.
 */
export const thresholdQuantile = defineKernel<ThresholdFlags>({
  name: "thresholdQuantile",
  tensors: { x: "in N H W C", ...PREDICTION_TENSORS, factors: "inout *" },
  floats: ["FRACTION", "MOST"],
  records: RECORDS,
  frame: true,
  scalars(d, { ratio, max }) {
    const position = ratio * ((d.C as number) * (d.H as number) * (d.W as number) - 1);
    return { RANK: Math.floor(position), FRACTION: position - Math.floor(position), MOST: max };
  },
  variants: perImage(
    (k) => wgsl`
${k.header}
${cleanFunctions(k)}
var<workgroup> bins: array<atomic<u32>, 256>;
var<workgroup> found: vec3u;
var<workgroup> successor: atomic<u32>;
${imageThread(k)}
  // prefix: the digits known so far; rank: what is left of the rank among numbers with these digits.
  var prefix = 0u;
  var rank = RANK;
  var equal = 0u;
  for (var digit = 0u; digit < 4u; digit++) {
    let shift = 24u - digit * 8u;
    for (var b = thread; b < 256u; b += WG) { atomicStore(&bins[b], 0u); }
    workgroupBarrier();
    for (var e = thread; e < vectors; e += WG) {
      let bits = bitcast<vec4u>(abs(clean_at(n, e)));
      for (var c = 0u; c < min(4u, C - (e % C4) * 4u); c++) {
        // Shifting by 32 is undefined, hence twice.
        if ((((bits[c] ^ prefix) >> shift) >> 8u) == 0u) { atomicAdd(&bins[(bits[c] >> shift) & 255u], 1u); }
      }
    }
    workgroupBarrier();
    if (thread == 0u) {
      var below = 0u;
      var bin = 0u;
      for (; bin < 255u; bin++) {
        let size = atomicLoad(&bins[bin]);
        if (below + size > rank) { break; }
        below += size;
      }
      found = vec3u(prefix | (bin << shift), rank - below, atomicLoad(&bins[bin]));
      atomicStore(&successor, 0xffffffffu);
    }
    workgroupBarrier();
    prefix = found.x;
    rank = found.y;
    equal = found.z;
    workgroupBarrier();
  }
  for (var e = thread; e < vectors; e += WG) {
    let bits = bitcast<vec4u>(abs(clean_at(n, e)));
    for (var c = 0u; c < min(4u, C - (e % C4) * 4u); c++) {
      if (bits[c] > prefix) { atomicMin(&successor, bits[c]); }
    }
  }
  workgroupBarrier();
  if (thread == 0u) {
    let value = bitcast<f32>(prefix);
    let next = atomicLoad(&successor);
    let above = select(bitcast<f32>(next), value, rank + 1u < equal || next == 0xffffffffu);
    factors[n].threshold = min(max(value + FRACTION * (above - value), 1.0), MOST);
  }
}`,
  ),
  cost: (d, batch) => ({ flops: 200 * stateVectors(d, batch), bytes: 32 * stateVectors(d, batch) }),
});
