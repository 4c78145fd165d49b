/** The plain loop, a thread per pixel and four output channels: always right, and what the other kernels are compared with. */
import type { Codegen, Variant } from "../../runtime/kernel.ts";
import { ceilDiv } from "../../runtime/values.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { type LoadFlags, loadHelpers, readInput } from "../parts/loadMap.ts";
import { epilogue } from "./contract.ts";

function body(k: Codegen<LoadFlags>): string {
  return wgsl`
${k.header}
${loadHelpers(k)}
@compute @workgroup_size(${k.workgroup})
fn main(@builtin(global_invocation_id) invocation: vec3u) {
  ${k.prelude}
  let id = invocation + ${k.first};
  if (id.x >= WO * O4) { return; }
  let o4 = id.x % O4;
  let ox = id.x / O4;
  var acc = vec4f();
  for (var ky = 0u; ky < KH; ky++) {
    for (var kx = 0u; kx < KW; kx++) {
      let iy = i32(id.y * STRIDE + ky) - i32(PT);
      let ix = i32(ox * STRIDE + kx) - i32(PL);
      for (var c = 0u; c < C4; c++) {
        ${readInput(k, "v", "id.z", "iy", "ix", "c")}
        let wi = (((ky * KW + kx) * C4 + c) * 4u) * O4 + o4;
        acc += v.x * ${k.load("w", "wi")} + v.y * ${k.load("w", "wi + O4")}
          + v.z * ${k.load("w", "wi + 2u * O4")} + v.w * ${k.load("w", "wi + 3u * O4")};
      }
    }
  }
  let m = (id.z * HO + id.y) * WO + ox;
  ${epilogue(k, "acc", "id.z", "m", "o4")}
}`;
}

export const direct: Variant<LoadFlags> = {
  name: "direct",
  workgroup: () => 64,
  grid: (d, batch, wg) => [ceilDiv((d.WO as number) * (d.O4 as number), wg), d.HO as number, batch],
  parts: "y",
  wgsl: body,
};
