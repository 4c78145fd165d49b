/**
 * Depthwise convolution for GPUs: a workgroup makes 8×8 pixels of four channels. It fetches them with their border once;
 * without that, every pixel would be fetched by 49 threads under a 7×7 kernel.
 */
import type { Flags, Variant } from "../../runtime/kernel.ts";
import { ceilDiv } from "../../runtime/values.ts";
import { wgsl } from "../../runtime/wgsl.ts";

const SIDE = 8;
/** Largest kernel; tile and border then take 3,600 bytes of workgroup memory. */
const MOST = 8;
const BORDERED = SIDE + MOST - 1;

export const depthwiseTiled: Variant<Flags> = {
  name: "tiled",
  when: (target, d) => !target.software && (d.KH as number) <= MOST && (d.KW as number) <= MOST,
  workgroup: () => SIDE * SIDE,
  grid: (d, batch) => [ceilDiv(d.W as number, SIDE) * ceilDiv(d.H as number, SIDE), d.C4 as number, batch],
  wgsl: (k) => wgsl`
${k.header}
var<workgroup> tile: array<vec4f, ${BORDERED * BORDERED}>;
@compute @workgroup_size(${SIDE * SIDE})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${k.prelude}
  let across = (W + ${SIDE - 1}u) / ${SIDE}u;
  let x0 = wg.x % across * ${SIDE}u;
  let y0 = wg.x / across * ${SIDE}u;
  let wide = ${SIDE}u + KW - 1u;
  for (var i = lane; i < wide * (${SIDE}u + KH - 1u); i += ${SIDE * SIDE}u) {
    let iy = i32(y0 + i / wide) - i32(KH / 2u);
    let ix = i32(x0 + i % wide) - i32(KW / 2u);
    var v = vec4f();
    if (iy >= 0 && ix >= 0 && iy < i32(H) && ix < i32(W)) { v = ${k.load("x", "((wg.z * H + u32(iy)) * W + u32(ix)) * C4 + wg.y")}; }
    tile[i] = v;
  }
  workgroupBarrier();
  let ox = lane % ${SIDE}u;
  let oy = lane / ${SIDE}u;
  var acc = ${k.load("bias", "wg.y")};
  for (var ky = 0u; ky < KH; ky++) {
    for (var kx = 0u; kx < KW; kx++) {
      acc += tile[(oy + ky) * wide + ox + kx] * ${k.load("w", "(ky * KW + kx) * 4u * C4 + wg.y")};
    }
  }
  if (x0 + ox < W && y0 + oy < H) { ${k.store("y", "((wg.z * H + y0 + oy) * W + x0 + ox) * C4 + wg.y", "acc")} }
}`,
};
