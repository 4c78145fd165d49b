/**
 * Winograd's output transform, Y = Aᵀ M A, with the epilogue of a convolution: bias, time embedding, residual, scale.
 * Lanes are output channel groups, a workgroup does one tile.
 */
import { type Codegen, defineKernel, type Flags } from "../../../runtime/kernel.ts";
import { ceilDiv } from "../../../runtime/values.ts";
import { range, wgsl } from "../../../runtime/wgsl.ts";
import { CONV_FLOATS, epilogue } from "../../conv2d/contract.ts";
import { costOf } from "../../parts/threads.ts";
import { outputTransform, PATCH, TILE } from "./transforms.ts";

function body(k: Codegen<Flags>): string {
  const lanes = k.workgroup;
  const patch = range(PATCH).flatMap((i) => range(PATCH).map((j) => [i, j] as const));
  const outputs = range(TILE).flatMap((i) => range(TILE).map((j) => [i, j] as const));
  return wgsl`
${k.header}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${k.prelude}
  let o4 = wg.x * ${lanes}u + lane;
  if (o4 >= O4) { return; }
  let n = wg.z;
  let origin = (n * TP + wg.y) * O4 + o4;
  let next = N * TP * O4;
  ${patch.map(([i, j]) => `var m${i}${j} = ${k.load("m", `origin + ${i * PATCH + j}u * next`)};`).join("\n  ")}
  ${outputTransform("m")}
  let top = wg.y / TX * 4u;
  let left = wg.y % TX * 4u;
  var results = array<vec4f, ${TILE * TILE}>(${outputs.map(([i, j]) => `m${i}${j}`).join(", ")});
  for (var i = 0u; i < min(${TILE}u, HO - top); i++) {
    for (var j = 0u; j < min(${TILE}u, WO - left); j++) {
      ${epilogue(k, `results[i * ${TILE}u + j]`, "n", "((n * HO + top + i) * WO + left + j)", "o4")}
    }
  }
}`;
}

/** Extra scalars: TY, TX = tiles of an image, TP = stored ones, and those of the epilogue (ConvScalars). */
export const winogradOutput = defineKernel<Flags>({
  name: "winogradOutput",
  tensors: { m: "in *", bias: "in O", emb: "in *", residual: "in *", y: "out N HO WO O" },
  floats: CONV_FLOATS,
  variants: [
    {
      name: "subgroup",
      workgroup: (target) => target.lanes,
      grid: (d, batch, lanes) => [ceilDiv(d.O4 as number, lanes), (d.TY as number) * (d.TX as number), batch],
      wgsl: body,
    },
  ],
  cost: costOf("N TY TX O4", { flops: 600, bytes: 16 * (36 + 16) }),
});
