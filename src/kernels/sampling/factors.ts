/**
 * What a step needs to know of an image as a whole. One workgroup reads one image, in an order that depends on nothing
 * else, so the numbers are the same in every batch. They run between the network and the step and read the same x and m.
 */
import { type Codegen, defineKernel, type Flags } from "../../runtime/kernel.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { maskChannels } from "../parts/normal.ts";
import {
  guidanceFunctions,
  headFunction,
  type PredictionFlags,
  predictedFunction,
  type StateFlags,
  stateVectors,
} from "./state.ts";

/** Threads of the workgroup that reads an image. */
const workgroup = (target: { software: boolean }) => (target.software ? 32 : 256);
const grid = (_d: Readonly<Record<string, number>>, batch: number) => [1, 1, batch] as const;

/** Scope of a thread: image n and its lane of WG. */
const imageThread = (k: Codegen<Flags>): string => `const WG = ${k.workgroup}u;
@compute @workgroup_size(${k.workgroup})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${k.prelude}
  let n = group.z;
  let vectors = H * W * C4;`;

/** Combines `shared_values` of all lanes by halving; the result is in the first. */
const reduce = (k: Codegen<Flags>, combine: (a: string, b: string) => string): string => `
  workgroupBarrier();
  for (var stride = ${k.workgroup / 2}u; stride > 0u; stride /= 2u) {
    if (lane < stride) {
      let a = shared_values[lane];
      let b = shared_values[lane + stride];
      shared_values[lane] = ${combine("a", "b")};
    }
    workgroupBarrier();
  }`;

/**
 * factors[n].x = φ std(m_c)/std(m) + 1 - φ with the unbiased standard deviations over C, H, W of the conditional and the
 * guided output (diffusers, rescale_noise_cfg; Lin et al. 2023, section 3.4).
 */
export const guidanceRescale = defineKernel<StateFlags>({
  name: "guidanceRescale",
  tensors: { x: "in N H W C", m: "in N H W O", coefficients: "in *", run: "in *", factors: "inout *" },
  frame: true,
  variants: [
    {
      name: "image",
      workgroup,
      grid,
      wgsl: (k) => {
        const read = wgsl`
    let at = (n * H * W + e / C4) * O4 + e % C4;
    let free = ${k.load("m", "at")};
    let conditional = ${k.load("m", "at + N * H * W * O4")};
    var a = conditional - mean.x;
    var b = free + w * (conditional - free) - mean.y;
    ${maskChannels("a", "e % C4")}
    ${maskChannels("b", "e % C4")}`;
        return wgsl`
${k.header}
${headFunction(k)}
${guidanceFunctions}
var<workgroup> shared_values: array<vec2f, ${k.workgroup}>;
${imageThread(k)}
  if (!guides(n)) { return; }
  let w = weight(n);
  let count = f32(H * W * C);
  var mean = vec2f();
  var sum = vec2f();
  for (var e = lane; e < vectors; e += WG) {
    ${read}
    sum += vec2f(a.x + a.y + a.z + a.w, b.x + b.y + b.z + b.w);
  }
  shared_values[lane] = sum;
  ${reduce(k, (a, b) => `${a} + ${b}`)}
  mean = shared_values[0] / count;
  workgroupBarrier();
  sum = vec2f();
  for (var e = lane; e < vectors; e += WG) {
    ${read}
    sum += vec2f(dot(a, a), dot(b, b));
  }
  shared_values[lane] = sum;
  ${reduce(k, (a, b) => `${a} + ${b}`)}
  let squares = shared_values[0];
  let phi = bitcast<f32>(run[2]);
  // Both have count - 1 in the denominator. A constant output has nothing to be rescaled to.
  let ratio = select(1.0, sqrt(squares.x / squares.y), squares.y > 0.0);
  if (lane == 0u) { factors[n].x = phi * ratio + 1.0 - phi; }
}`;
      },
    },
  ],
  cost: (d, batch) => ({ flops: 64 * stateVectors(d, batch), bytes: 64 * stateVectors(d, batch) }),
});

export interface ThresholdFlags extends PredictionFlags {
  ratio: number;
  max: number;
}

const CLEAN = (k: Codegen<PredictionFlags>) => `
fn clean_at(n: u32, e: u32) -> vec4f {
  ${k.prelude}
  let first = head();
  return first.x * ${k.load("x", "n * H * W * C4 + e")} + first.y * predicted(n, e / C4, e % C4);
}`;

/**
 * factors[n].y = the `ratio` quantile of |x0| over the image, clamped to 1..max (a maximum below 1 wins, as in torch):
 * dynamic thresholding of Saharia et al. 2022. The quantile is exact, as torch.quantile's: the order statistic is found
 * digit by digit of its bits, which order positive floats, and interpolated linearly with its successor.
 */
export const thresholdQuantile = defineKernel<ThresholdFlags>({
  name: "thresholdQuantile",
  tensors: { x: "in N H W C", m: "in N H W O", coefficients: "in *", run: "in *", factors: "inout *" },
  floats: ["FRACTION", "MOST"],
  frame: true,
  scalars(d, { ratio, max }) {
    const position = ratio * ((d.C as number) * (d.H as number) * (d.W as number) - 1);
    return { RANK: Math.floor(position), FRACTION: position - Math.floor(position), MOST: max };
  },
  variants: [
    {
      name: "image",
      workgroup,
      grid,
      wgsl: (k) => wgsl`
${k.header}
${headFunction(k)}
${predictedFunction(k)}
${CLEAN(k)}
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
    for (var b = lane; b < 256u; b += WG) { atomicStore(&bins[b], 0u); }
    workgroupBarrier();
    for (var e = lane; e < vectors; e += WG) {
      let bits = bitcast<vec4u>(abs(clean_at(n, e)));
      for (var c = 0u; c < min(4u, C - (e % C4) * 4u); c++) {
        // Shifting by 32 is undefined, hence twice.
        if ((((bits[c] ^ prefix) >> shift) >> 8u) == 0u) { atomicAdd(&bins[(bits[c] >> shift) & 255u], 1u); }
      }
    }
    workgroupBarrier();
    if (lane == 0u) {
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
  for (var e = lane; e < vectors; e += WG) {
    let bits = bitcast<vec4u>(abs(clean_at(n, e)));
    for (var c = 0u; c < min(4u, C - (e % C4) * 4u); c++) {
      if (bits[c] > prefix) { atomicMin(&successor, bits[c]); }
    }
  }
  workgroupBarrier();
  if (lane == 0u) {
    let value = bitcast<f32>(prefix);
    let next = atomicLoad(&successor);
    let above = select(bitcast<f32>(next), value, rank + 1u < equal || next == 0xffffffffu);
    factors[n].y = min(max(value + FRACTION * (above - value), 1.0), MOST);
  }
}`,
    },
  ],
  cost: (d, batch) => ({ flops: 200 * stateVectors(d, batch), bytes: 32 * stateVectors(d, batch) }),
});

export interface StatisticsFlags extends PredictionFlags {
  threshold: boolean;
}

/**
 * statistics[frame.w · N + n] = smallest and largest finite x0 before it is bounded, the fraction beyond its bound (beyond
 * ±1 without one), and how many values are not finite.
 */
export const x0Statistics = defineKernel<StatisticsFlags>({
  name: "x0Statistics",
  tensors: {
    x: "in N H W C",
    m: "in N H W O",
    coefficients: "in *",
    run: "in *",
    statistics: "inout *",
    factors: "in? *",
  },
  frame: true,
  variants: [
    {
      name: "image",
      workgroup,
      grid,
      wgsl: (k) => wgsl`
${k.header}
${headFunction(k)}
${predictedFunction(k)}
${CLEAN(k)}
var<workgroup> shared_values: array<vec4f, ${k.workgroup}>;
${imageThread(k)}
  let clip = head().z;
  let bound = ${k.flags.threshold ? "factors[n].y" : "select(1.0, clip, clip > 0.0)"};
  const most = 3.4028234e38;
  var seen = vec4f(most, -most, 0.0, 0.0);
  for (var e = lane; e < vectors; e += WG) {
    let v = clean_at(n, e);
    let exponent = bitcast<vec4u>(v) & vec4u(0x7f800000u);
    for (var c = 0u; c < min(4u, C - (e % C4) * 4u); c++) {
      if (exponent[c] == 0x7f800000u) { seen.w += 1.0; continue; }
      seen = vec4f(min(seen.x, v[c]), max(seen.y, v[c]), seen.z + select(0.0, 1.0, abs(v[c]) > bound), seen.w);
    }
  }
  shared_values[lane] = seen;
  ${reduce(k, (a, b) => `vec4f(min(${a}.x, ${b}.x), max(${a}.y, ${b}.y), ${a}.zw + ${b}.zw)`)}
  if (lane == 0u) {
    let all = shared_values[0];
    statistics[frame.w * N + n] = vec4f(all.xy, all.z / f32(H * W * C), all.w);
  }
}`,
    },
  ],
  cost: (d, batch) => ({ flops: 40 * stateVectors(d, batch), bytes: 32 * stateVectors(d, batch) }),
});

/** statistics[frame.w · N + n].x = root mean square over the image of x - base, the base being slot `SLOT` of `history`. */
export const stateResidual = defineKernel<Flags>({
  name: "stateResidual",
  tensors: { x: "in N H W C", history: "in *", statistics: "inout *" },
  frame: true,
  variants: [
    {
      name: "image",
      workgroup,
      grid,
      wgsl: (k) => wgsl`
${k.header}
var<workgroup> shared_values: array<f32, ${k.workgroup}>;
${imageThread(k)}
  var sum = 0.0;
  for (var e = lane; e < vectors; e += WG) {
    let d = ${k.load("x", "n * vectors + e")} - ${k.load("history", "SLOT * N * vectors + n * vectors + e")};
    sum += dot(d, d);
  }
  shared_values[lane] = sum;
  ${reduce(k, (a, b) => `${a} + ${b}`)}
  if (lane == 0u) { statistics[frame.w * N + n] = vec4f(sqrt(shared_values[0] / f32(H * W * C)), vec3f()); }
}`,
    },
  ],
  cost: (d, batch) => ({ flops: 12 * stateVectors(d, batch), bytes: 32 * stateVectors(d, batch) }),
});
