/**
 * Convolution for software adapters: a barrier-free GEMM of `subgroupBroadcast` outer products. One workgroup is one
 * subgroup; it owns `pixels` output pixels (counted through all images, so small levels waste nothing) and `blocks` times
 * 4·lanes output channels. Each lane fetches the input vec4 of its pixels once for all blocks and four weight vec4s per
 * block, then every pixel's four channels are broadcast: 1024 multiply-adds of vec4 width per 12 fetches at 8 lanes, 32
 * pixels and two blocks. A tap's address, its padding and nearest ×2 are found once per tap, outside the loop over channels,
 * so one pipeline serves every kernel size, stride and layer, 1×1 and linear included. A longer body does not pay: two
 * blocks fill the processor's instruction cache (docs/decisions/0010).
 *
 * A resnet's 1×1 shortcut can join in: as one more tap, with weights of its own, that reads S4 channel groups behind the
 * image in the same texture, where `normalise` has put them. A dispatch costs about 40 µs here, two kernels' worth of
 * statements twice the compile time.
 */

import { type Codegen, defineKernel, type Flags } from "../../runtime/kernel.ts";
import { ceilDiv } from "../../runtime/values.ts";
import { range, wgsl } from "../../runtime/wgsl.ts";
import { CONV_FLOATS, checkOutput, convCost, epilogue, OUTPUT_TENSORS } from "../conv2d/contract.ts";
import { accumulators, eachResult, outerProduct } from "./outerProduct.ts";
import { SUBGROUPS } from "./subgroups.ts";

export interface GatherFlags extends Flags {
  /** Output pixels per workgroup, a multiple of the lanes. */
  pixels: number;
  /** Blocks of 4·lanes output channels per workgroup. */
  blocks: number;
}

function body(k: Codegen<GatherFlags>): string {
  const lanes = k.workgroup;
  const { pixels, blocks } = k.flags;
  const loads = range(pixels / lanes);
  return wgsl`
${SUBGROUPS}
${k.header}
// Integer division by a variable is done lane by lane on processors; a float quotient and its correction are not.
fn quotient(a: u32, d: u32) -> u32 {
  let q = u32(f32(a) / f32(d));
  let rest = i32(a - q * d);
  return select(select(q, q + 1u, rest >= i32(d)), q - 1u, rest < 0);
}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${k.prelude}
  let wg = group + ${k.first};
  let M = N * HO * WO;
  let r0 = (wg.z * 32768u + wg.y) * ${pixels}u;
  if (r0 >= M) { return; }
  ${loads
    .map(
      (i) => `let m${i} = min(r0 + ${i * lanes}u + lane, M - 1u);
  let line${i} = quotient(m${i}, WO);
  let n${i} = quotient(line${i}, HO);
  let top${i} = i32((line${i} - n${i} * HO) * STRIDE) - i32(PT);
  let left${i} = i32((m${i} - line${i} * WO) * STRIDE) - i32(PL);`,
    )
    .join("\n  ")}
  ${accumulators(pixels, blocks)}
  let taps = KH * KW;
  let span = taps * C4 + S4;
  for (var tap = 0u; tap < taps + min(S4, 1u); tap++) {
    let shortcut = tap == taps;
    let dy = i32(tap / KW);
    let dx = i32(tap % KW);
    let groups = select(C4, S4, shortcut);
    let wtap = (wg.x * ${blocks}u * span + tap * C4) * ${4 * lanes}u + lane;
    ${loads
      .map(
        (i) => `let y${i} = top${i} + dy;
    let x${i} = left${i} + dx;
    let inside${i} = shortcut || (y${i} >= 0 && x${i} >= 0 && y${i} < i32(H << UP) && x${i} < i32(W << UP));
    let pixel${i} = (n${i} * H + (u32(y${i}) >> UP)) * W + (u32(x${i}) >> UP);
    let base${i} = select(0u, select(pixel${i} * C4, N * H * W * C4 + m${i} * S4, shortcut), inside${i});`,
      )
      .join("\n    ")}
    for (var c = 0u; c < groups; c++) {
      ${outerProduct({
        height: pixels,
        lanes,
        blocks,
        left: (i) => `select(vec4f(), ${k.load("x", `base${i} + c`)}, inside${i})`,
        column: (j, block) => k.load("w", `wtap + (${block}u * span + c) * ${4 * lanes}u + ${j * lanes}u`),
      })}
    }
  }
  ${eachResult({
    height: pixels,
    lanes,
    blocks,
    column: `wg.x * ${blocks * lanes}u + lane`,
    columns: "O4",
    count: `min(${pixels}u, M - r0)`,
    statements: `let m = r0 + r;
      let n = quotient(quotient(m, WO), HO);
      ${epilogue(k, "result", "n", "m", "at")}`,
  })}
}`;
}

/**
 * Convolution of a plain input [N, H, W, C], behind which the S4 channel groups of a shortcut may lie, [N, HO, WO, S].
 * Extra scalars: H, W, C4, S4; PT, PL = zero lines above and columns left; PB, PR below and right; UP = 1 for nearest ×2.
 */
export const convGather = defineKernel<GatherFlags>({
  name: "conv2d",
  tensors: { x: "in *", ...OUTPUT_TENSORS },
  floats: CONV_FLOATS,
  scalars(d) {
    const { H = 0, W = 0, UP = 0, PT = 0, PB = 0, PL = 0, PR = 0, KH = 0, KW = 0, STRIDE = 1 } = d;
    const size = (n: number, kernel: number) => Math.floor((n - kernel) / STRIDE) + 1;
    checkOutput("conv2d gather", d, size((H << UP) + PT + PB, KH), size((W << UP) + PL + PR, KW));
    return {};
  },
  variants: [
    {
      name: "gather",
      when: (target, _, { pixels }) => target.lanes > 0 && pixels % target.lanes === 0,
      workgroup: (target) => target.lanes,
      grid(d, batch, lanes, { pixels: size, blocks }) {
        const tiles = ceilDiv(batch * (d.HO as number) * (d.WO as number), size);
        return [ceilDiv(d.O4 as number, blocks * lanes), Math.min(tiles, 32768), ceilDiv(tiles, 32768)];
      },
      parts: "y",
      wgsl: body,
    },
  ],
  cost: convCost,
});
