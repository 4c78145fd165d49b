/**
 * norm → activation → convolution of small images in one dispatch, for software adapters: a dispatch costs some 40 µs
 * there, and the lowest levels of a UNet are all dispatches. A workgroup (one subgroup) has a whole image and 4·lanes of
 * its output channels. It normalises the image into workgroup memory, a lane per group, as often as there are blocks of
 * output channels; then it multiplies as convGather.ts does. A shortcut's sources (s, t) are brought there too.
 */

import { type Codegen, type Dims, defineKernel } from "../../runtime/kernel.ts";
import { ceilDiv } from "../../runtime/values.ts";
import { range, wgsl } from "../../runtime/wgsl.ts";
import { CONV_FLOATS, checkOutput, convCost, epilogue, OUTPUT_TENSORS } from "../conv2d/contract.ts";
import { activationFunction } from "../parts/activations.ts";
import { type NormaliseFlags, SHARED_MEAN } from "./groupNorm.ts";
import { accumulators, eachResult, outerProduct } from "./outerProduct.ts";
import { SUBGROUPS } from "./subgroups.ts";

/** Most pixels of an image, the vectors of the product. */
export const IMAGE_PIXELS = 16;
/** Most vec4s of an image with its shortcut: 16 KiB, which every adapter has. */
export const IMAGE_VECTORS = 1024;

/** Statements for every vec4 `v` of group `unit`: pixel i, channel group g of the concatenation. */
const eachVector = (k: Codegen<NormaliseFlags>, statements: string): string => `
    for (var g = first; g < first + size; g++) {
      for (var i = 0u; i < PIXELS; i++) {
        var v = ${k.load("a", "(n * PIXELS + i) * CA4 + min(g, CA4 - 1u)")};
        if (g >= CA4) { v = ${k.load("b", "(n * PIXELS + i) * CB4 + g - CA4")}; }
        ${statements}
      }
    }`;

const copy = (k: Codegen<NormaliseFlags>, tensor: string, width: string, offset: string): string => `
  for (var j = lane; j < PIXELS * ${width}; j += ${k.workgroup}u) {
    image[PIXELS * C4 + j / ${width} * (S4 + T4) + ${offset} + j % ${width}] = ${k.load(tensor, `n * PIXELS * ${width} + j`)};
  }`;

export interface ImageFlags extends NormaliseFlags {
  /** Blocks of 4·lanes output channels per workgroup. */
  blocks: number;
}

function body(k: Codegen<ImageFlags>): string {
  const lanes = k.workgroup;
  const { blocks } = k.flags;
  const loads = range(IMAGE_PIXELS / lanes);
  return wgsl`
${SUBGROUPS}
${k.header}
${activationFunction(k.flags.act)}
${SHARED_MEAN}
var<workgroup> image: array<vec4f, ${IMAGE_VECTORS}>;
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${k.prelude}
  let wg = group + ${k.first};
  let n = wg.y;
  let size = max(C4 / GROUPS, 1u);
  let elements = f32(PIXELS * size);
  for (var unit = lane; unit < min(GROUPS, C4); unit += ${lanes}u) {
    let first = unit * size;
    var sum = vec4f();
    ${eachVector(k, "sum += v;")}
    let mean = shared_mean(sum, SPLIT) / elements;
    var squares = vec4f();
    ${eachVector(k, "squares += (v - mean) * (v - mean);")}
    let inverse = 1.0 / sqrt(shared_mean(squares, SPLIT) / elements + EPS);
    ${eachVector(
      k,
      `let scale = ${k.load("gamma", "g")} * inverse;
        image[i * C4 + g] = activate((v - mean) * scale + ${k.load("beta", "g")});`,
    )}
  }
  ${copy(k, "s", "S4", "0u")}
  ${copy(k, "t", "T4", "S4")}
  workgroupBarrier();
  ${loads
    .map(
      (i) => `let m${i} = min(${i * lanes}u + lane, PIXELS - 1u);
  let top${i} = i32(m${i} / W) - i32(PT);
  let left${i} = i32(m${i} % W) - i32(PL);`,
    )
    .join("\n  ")}
  ${accumulators(IMAGE_PIXELS, blocks)}
  let taps = KH * KW;
  let added = S4 + T4;
  let span = taps * C4 + added;
  for (var tap = 0u; tap < taps + min(added, 1u); tap++) {
    let shortcut = tap == taps;
    let groups = select(C4, added, shortcut);
    let wtap = (wg.x * ${blocks}u * span + tap * C4) * ${4 * lanes}u + lane;
    ${loads
      .map(
        (i) => `let y${i} = top${i} + i32(tap / KW);
    let x${i} = left${i} + i32(tap % KW);
    let inside${i} = shortcut || (y${i} >= 0 && x${i} >= 0 && y${i} < i32(H) && x${i} < i32(W));
    let base${i} = select(0u, select((u32(y${i}) * W + u32(x${i})) * C4, PIXELS * C4 + m${i} * added, shortcut), inside${i});`,
      )
      .join("\n    ")}
    for (var c = 0u; c < groups; c++) {
      ${outerProduct({
        height: IMAGE_PIXELS,
        lanes,
        blocks,
        left: (i) => `select(vec4f(), image[base${i} + c], inside${i})`,
        column: (j, block) => k.load("w", `wtap + (${block}u * span + c) * ${4 * lanes}u + ${j * lanes}u`),
      })}
    }
  }
  ${eachResult({
    height: IMAGE_PIXELS,
    lanes,
    blocks,
    column: `wg.x * ${blocks * lanes}u + lane`,
    columns: "O4",
    count: "PIXELS",
    statements: `let m = n * PIXELS + r;
      ${epilogue(k, "result", "n", "m", "at")}`,
  })}
}`;
}

/**
 * Extra scalars: those of `normalise` (GROUPS, EPS) and of the gather kernel without STRIDE and UP, CA4, CB4, S4, T4 =
 * vec4s of a pixel of each source, 0 for those that are bound to anything. The output has the size of the input.
 */
export const convImage = defineKernel<ImageFlags>({
  name: "conv2d",
  tensors: {
    a: "in *",
    b: "in *",
    s: "in *",
    t: "in *",
    gamma: "in C",
    beta: "in C",
    ...OUTPUT_TENSORS,
  },
  floats: [...CONV_FLOATS, "EPS"],
  scalars(d) {
    const { H = 0, W = 0, PT = 0, PB = 0, PL = 0, PR = 0, KH = 0, KW = 0, GROUPS = 0, C4 = 0 } = d;
    checkOutput("conv2d image", d, H + PT + PB - KH + 1, W + PL + PR - KW + 1);
    return { PIXELS: H * W, SPLIT: Math.max(1, GROUPS / C4) };
  },
  variants: [
    {
      name: "image",
      when: (target) => target.lanes > 0 && IMAGE_PIXELS % target.lanes === 0,
      workgroup: (target) => target.lanes,
      grid: (d, batch, lanes, { blocks }) => [ceilDiv(d.O4 as number, blocks * lanes), batch, 1],
      parts: "y",
      wgsl: body,
    },
  ],
  cost: (d: Dims, batch) => convCost({ ...d, STRIDE: 1, S4: (d.S4 as number) + (d.T4 as number) }, batch),
});
