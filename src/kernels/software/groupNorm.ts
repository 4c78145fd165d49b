/**
 * GroupNorm for software adapters: a subgroup per image and group, lanes over pixels, no barriers. A dispatch costs some
 * 40 µs there, so `normalise` does all of norm → activation in one: it measures its group, then reads the same channels
 * again, still cached, and writes the input of the convolution that follows. `groupNormSubgroups` gives the affine map alone,
 * for consumers that resample. Both need groups of whole vec4s, or that divide one ({@link fillsVectors}): those share a
 * workgroup, and SPLIT tells how many there are in a vec4.
 */

import { type Codegen, type Dims, defineKernel, type Flags } from "../../runtime/kernel.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { type Activation, activationFunction } from "../parts/activations.ts";
import { costOf } from "../parts/threads.ts";
import { SUBGROUPS } from "./subgroups.ts";

const SOURCES = {
  a: "in N HA WA CA",
  b: "in? N HA WA CB",
  gamma: "in CX",
  beta: "in CX",
  emb: "in? *",
} as const;

/** Whether every group consists of whole vec4s, or every vec4 of whole groups, also across two sources. */
export function fillsVectors(segments: readonly number[], groups: number): boolean {
  const size = segments.reduce((a, b) => a + b, 0) / groups;
  return segments.every((c) => c % 4 === 0) && (size % 4 === 0 || 4 % size === 0);
}

/** Statements that run for the source that holds channel group `g`; `body` gets its name, vec4s per pixel and group. */
function perSource(k: Codegen<Flags>, body: (tensor: string, width: string, group: string) => string): string {
  if (!k.has("b")) return `{ ${body("a", "CA4", "g")} }`;
  return `if (g < CA4) { ${body("a", "CA4", "g")} } else { ${body("b", "CB4", "g - CA4")} }`;
}

/**
 * Statements that define, for image n and the groups first..first+size-1, `center` and `inverse` with
 * y = (x − center)·inverse. Sums are relative to the mean of a few pixels of each channel, so that a large mean costs no
 * precision, and a single far pixel little (relative to the first pixel, one at 30 σ cost 1e-8 of NMSE).
 */
function statistics(k: Codegen<Flags>): string {
  const lanes = k.workgroup;
  return wgsl`
  let n = wg.y;
  let size = max(CX4 / GROUPS, 1u);
  let first = wg.x * size;
  let pixels = f32(PIXELS);
  var reference = vec4f();
  var means = vec4f();
  var meanSquares = vec4f();
  var deviations = vec4f();
  for (var g = first; g < first + size; g++) {
    var origin = vec4f();
    var sum = vec4f();
    var squares = vec4f();
    ${perSource(
      k,
      (tensor, width, group) => `
      let base = n * PIXELS * ${width} + ${group};
      origin = subgroupAdd(${k.load(tensor, `base + (lane * PIXELS / ${lanes}u) * ${width}`)}) * ${1 / lanes};
      for (var i = lane; i < PIXELS; i += ${lanes}u) {
        let d = ${k.load(tensor, `base + i * ${width}`)} - origin;
        sum += d;
        squares += d * d;
      }`,
    )}
    sum = subgroupAdd(sum);
    squares = subgroupAdd(squares);
    let offset = sum / pixels;
    if (g == first) { reference = shared_mean(origin + offset, SPLIT); }
    let d = origin + offset - reference;
    means += shared_mean(d, SPLIT);
    meanSquares += shared_mean(d * d, SPLIT);
    deviations += shared_mean(max(squares - sum * offset, vec4f()), SPLIT);
  }
  let vectors = f32(size);
  let mean = means / vectors;
  let variance = deviations / (pixels * vectors) + max(meanSquares / vectors - mean * mean, vec4f());
  let center = reference + mean;
  let inverse = 1.0 / sqrt(variance + EPS);`;
}

/** Statements that define the map y = x·scale + shift of channel group `g`. */
const affineMap = (k: Codegen<Flags>): string => wgsl`
    var scale = ${k.load("gamma", "g")} * inverse;
    var shift = ${k.load("beta", "g")} - center * scale;
    #if ${k.has("emb")}
    let e = n * E4 + EO + g;
    let factor = 1.0 + ${k.has("emb") ? k.load("emb", "e") : ""};
    scale = scale * factor;
    shift = shift * factor + ${k.has("emb") ? k.load("emb", "e + CX4") : ""};
    #endif`;

/** The mean over the channels of a group in a vec4 of `split` groups, for each component. */
export const SHARED_MEAN = `
fn shared_mean(v: vec4f, split: u32) -> vec4f {
  let pairs = vec4f(v.xx + v.yy, v.zz + v.ww) * 0.5;
  return select(select(vec4f(pairs.x + pairs.z) * 0.5, pairs, split == 2u), v, split == 4u);
}`;

/** A kernel that measures its group, then does the rest. */
const source = (k: Codegen<Flags>, helpers: string, rest: string): string => `
${SUBGROUPS}
${k.header}
${helpers}
${SHARED_MEAN}
@compute @workgroup_size(${k.workgroup})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${k.prelude}
  ${statistics(k)}
  ${rest}
}`;

const shared = {
  scalars: ({ GROUPS = 0, CX4 = 0 }: Dims): Dims => ({ SPLIT: Math.max(1, GROUPS / CX4) }),
  floats: ["EPS"],
  cost: costOf("N PIXELS CX", { flops: 12, bytes: 8 }),
};
/** Groups, or vec4s where these hold several. */
const workgroups = ({ GROUPS = 0, CX4 = 0 }: Dims): number => Math.min(GROUPS, CX4);

const dispatch = {
  workgroup: (target: { lanes: number }) => target.lanes,
  grid: (d: Dims, batch: number) => [workgroups(d), batch, 1] as const,
};

/** affine[n, 0] = scale, affine[n, 1] = shift. Extra scalars: GROUPS, EPS, PIXELS, E4, EO. */
export const groupNormSubgroups = defineKernel<Flags>({
  ...shared,
  name: "groupNorm",
  tensors: { ...SOURCES, affine: "out N 2 CX" },
  variants: [
    {
      ...dispatch,
      name: "subgroup",
      wgsl: (k) =>
        source(
          k,
          "",
          `for (var g = first + lane; g < first + size; g += ${k.workgroup}u) {
    ${affineMap(k)}
    ${k.store("affine", "n * 2u * CX4 + g", "scale")}
    ${k.store("affine", "n * 2u * CX4 + CX4 + g", "shift")}
  }`,
        ),
    },
  ],
});

export interface NormaliseFlags extends Flags {
  act: Activation;
}

/** Statements that copy this group's share of every pixel's `width` vec4s of a tensor behind y. */
const copy = (k: Codegen<Flags>, tensor: string, width: string, offset: string): string => `
  for (var g = wg.x; g < ${width}; g += min(GROUPS, CX4)) {
    for (var i = lane; i < PIXELS; i += ${k.workgroup}u) {
      let pixel = n * PIXELS + i;
      ${k.store("y", `N * PIXELS * CX4 + pixel * (S4 + T4) + ${offset} + g`, k.load(tensor, `pixel * ${width} + g`))}
    }
  }`;

/**
 * y = act(norm(concat(a, b))), and behind it, for a convolution that adds their shortcut, [N, H, W] pixels of (s, t) as
 * they are. Extra scalars: as above, and S4, T4 = vec4s of their pixels, 0 for those that are bound to anything.
 */
export const normalise = defineKernel<NormaliseFlags>({
  ...shared,
  name: "normalise",
  tensors: { ...SOURCES, s: "in *", t: "in *", y: "out *" },
  variants: [
    {
      ...dispatch,
      name: "subgroup",
      wgsl: (k) =>
        source(
          k,
          activationFunction(k.flags.act),
          `for (var g = first; g < first + size; g++) {
    ${affineMap(k)}
    ${perSource(
      k,
      (tensor, width, group) => `
      for (var i = lane; i < PIXELS; i += ${k.workgroup}u) {
        let v = ${k.load(tensor, `(n * PIXELS + i) * ${width} + ${group}`)};
        ${k.store("y", "(n * PIXELS + i) * CX4 + g", "activate(v * scale + shift)")}
      }`,
    )}
  }
  ${copy(k, "s", "S4", "0u")}
  ${copy(k, "t", "T4", "S4")}`,
        ),
    },
  ],
});
