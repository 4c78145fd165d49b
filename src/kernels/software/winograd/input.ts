/**
 * Winograd's input transform: V = Bᵀ d B for every tile and channel, [36, tiles, C] in blocks of one subgroup's lanes of
 * tiles: texel ((product · blocks + block) · C4 + c) · lanes + lane, so that the product kernel's fetches are contiguous.
 * Lanes are tiles; padding and nearest ×2 are found per pixel.
 */
import { type Codegen, defineKernel, type Flags } from "../../../runtime/kernel.ts";
import { ceilDiv } from "../../../runtime/values.ts";
import { range, wgsl } from "../../../runtime/wgsl.ts";
import { costOf } from "../../parts/threads.ts";
import { inputTransform, PATCH } from "./transforms.ts";

/** Channel groups per workgroup: neighbours share the cache lines that the first one fetches. */
const GROUPS = 8;

function body(k: Codegen<Flags>): string {
  const lanes = k.workgroup;
  const sides = range(PATCH);
  const pixels = sides.flatMap((i) => sides.map((j) => [i, j] as const));
  return wgsl`
${k.header}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${k.prelude}
  let n = wg.z;
  let t = min(wg.x * ${lanes}u + lane, TY * TX - 1u);
  let top = i32(t / TX * 4u) - i32(PT);
  let left = i32(t % TX * 4u) - i32(PL);
  ${sides
    .map(
      (i) => `let line${i} = (n * H + (u32(max(top + ${i}, 0)) >> UP)) * W;
  let column${i} = u32(max(left + ${i}, 0)) >> UP;
  let high${i} = top + ${i} >= 0 && top + ${i} < i32(H << UP);
  let wide${i} = left + ${i} >= 0 && left + ${i} < i32(W << UP);`,
    )
    .join("\n  ")}
  ${pixels.map(([i, j]) => `let at${i}${j} = select(0u, (line${i} + column${j}) * C4, high${i} && wide${j});`).join("\n  ")}
  let blocks = N * TP / ${lanes}u;
  let block = n * TP / ${lanes}u + wg.x;
  for (var c = wg.y * ${GROUPS}u; c < min(wg.y * ${GROUPS}u + ${GROUPS}u, C4); c++) {
    ${pixels
      .map(([i, j]) => `var d${i}${j} = select(vec4f(), ${k.load("x", `at${i}${j} + c`)}, high${i} && wide${j});`)
      .join("\n    ")}
    ${inputTransform("d")}
    ${pixels
      .map(([i, j]) => k.store("v", `((${i * PATCH + j}u * blocks + block) * C4 + c) * ${lanes}u + lane`, `d${i}${j}`))
      .join("\n    ")}
  }
}`;
}

/**
 * Extra scalars: H, W = size of the plain input, C4; PT, PL = zero lines above and columns left; UP = 1 for nearest ×2;
 * TY, TX = tiles of an image, TP = their number up to a multiple of the lanes.
 */
export const winogradInput = defineKernel<Flags>({
  name: "winogradInput",
  tensors: { x: "in *", v: "out *" },
  variants: [
    {
      name: "subgroup",
      workgroup: (target) => target.lanes,
      grid: (d, batch, lanes) => [(d.TP as number) / lanes, ceilDiv(d.C4 as number, GROUPS), batch],
      wgsl: body,
    },
  ],
  cost: costOf("N TP C4", { flops: 960, bytes: 16 * (16 + 36) }),
});
