/**
 * `apply` for software adapters: one subgroup per line of pixels and block of channel groups. A lane keeps its channels'
 * scale and shift in registers along the line, and no thread divides to find its place.
 */
import type { Codegen, Variant } from "../../runtime/kernel.ts";
import { ceilDiv } from "../../runtime/values.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { type LoadFlags, loadHelpers } from "../parts/loadMap.ts";
import { usesSubgroups } from "./subgroups.ts";

function body(k: Codegen<LoadFlags>): string {
  const { act, upsample } = k.flags;
  const shift = upsample ? " >> 1u" : "";
  return wgsl`
${k.header}
${loadHelpers(k)}
@compute @workgroup_size(${k.workgroup})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${k.prelude}
  let c4 = wg.x * ${k.workgroup}u + lane;
  if (c4 >= C4) { return; }
  let n = wg.z;
  let out = (n * HO + wg.y) * WO * C4 + c4;
  let line = (n * HA + (wg.y${shift})) * WA;
  #if ${k.has("affine")}
  let scale = ${k.has("affine") ? k.load("affine", "n * 2u * C4 + c4") : ""};
  let offset = ${k.has("affine") ? k.load("affine", "n * 2u * C4 + C4 + c4") : ""};
  #endif
  for (var x = 0u; x < WO; x++) {
    let pixel = line + (x${shift});
    var v = vec4f();
    #if ${k.has("b")}
    if (c4 < CA4) { v = ${k.load("a", "pixel * CA4 + c4")}; }
    else { v = ${k.has("b") ? k.load("b", "pixel * CB4 + c4 - CA4") : ""}; }
    #else
    v = ${k.load("a", "pixel * CA4 + c4")};
    #endif
    #if ${k.has("affine")}
    v = v * scale + offset;
    #endif
    #if ${act !== "none"}
    v = activate(v);
    #endif
    ${k.store("y", "out + x * C4", "v")}
  }
}`;
}

export const applyLines: Variant<LoadFlags & { pool: boolean }> = {
  name: "lines",
  when: (target, _dims, flags) => usesSubgroups(target) && !flags.pool,
  workgroup: (target) => target.lanes,
  grid: (d, batch, lanes) => [ceilDiv(d.C4 as number, lanes), d.HO as number, batch],
  wgsl: body,
};
