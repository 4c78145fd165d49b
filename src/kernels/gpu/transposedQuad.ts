/**
 * The 4×4 transposed convolution of stride 2 that doubles an image, for GPUs: outputs (2i + 1, 2j + 1) to (2i + 2, 2j + 2)
 * all read inputs i, i + 1 and j, j + 1. A thread makes these four, so that an input is fetched once instead of four times.
 */
import { type Flags, linearGrid, type Variant } from "../../runtime/kernel.ts";
import { range, wgsl } from "../../runtime/wgsl.ts";
import { LINE_INDEX, mainInLine } from "../parts/threads.ts";

const QUAD = range(4).map((i) => [i >> 1, i & 1] as const);

export const transposedQuad: Variant<Flags> = {
  name: "quad",
  when: (target, d) => !target.software && d.SIDE === 4 && d.STRIDE === 2 && d.PAD === 1,
  workgroup: () => 64,
  grid: (d, batch, wg) => linearGrid(batch * ((d.H as number) + 1) * ((d.W as number) + 1) * (d.O4 as number), wg),
  wgsl: (k) => {
    // Output (a, b) of the four takes input (p, q) by tap (2 + a - 2p, 2 + b - 2q).
    const product = (a: number, b: number, p: number, q: number) => {
      const row = (j: number) =>
        k.load("w", `(${(2 + a - 2 * p) * 4 + 2 + b - 2 * q}u * C4 + c) * 4u * O4 + ${j}u * O4 + o4`);
      const v = `v${p}${q}`;
      return `acc${a}${b} += ${v}.x * ${row(0)} + ${v}.y * ${row(1)} + ${v}.z * ${row(2)} + ${v}.w * ${row(3)};`;
    };
    const store = (a: number, b: number) =>
      `if (oy + ${a} >= 0 && oy + ${a} < i32(HO) && ox + ${b} >= 0 && ox + ${b} < i32(WO)) { ${k.store(
        "y",
        `((n * HO + u32(oy + ${a})) * WO + u32(ox + ${b})) * O4 + o4`,
        `acc${a}${b}`,
      )} }`;
    return wgsl`
${k.header}
${mainInLine(64)} {
  ${k.prelude}
  let i = ${LINE_INDEX};
  if (i >= N * (H + 1u) * (W + 1u) * O4) { return; }
  let o4 = i % O4;
  let ix = i32(i / O4 % (W + 1u)) - 1;
  let iy = i32(i / (O4 * (W + 1u)) % (H + 1u)) - 1;
  let n = i / (O4 * (W + 1u) * (H + 1u));
  let ox = ix * 2 + 1;
  let oy = iy * 2 + 1;
  ${QUAD.map(([a, b]) => `var acc${a}${b} = ${k.load("bias", "o4")};`).join(" ")}
  for (var c = 0u; c < C4; c++) {
    ${QUAD.map(
      ([p, q]) => `var v${p}${q} = vec4f();
    if (iy + ${p} >= 0 && iy + ${p} < i32(H) && ix + ${q} >= 0 && ix + ${q} < i32(W)) { v${p}${q} = ${k.load(
      "x",
      `((n * H + u32(iy + ${p})) * W + u32(ix + ${q})) * C4 + c`,
    )}; }`,
    ).join("\n    ")}
    ${QUAD.flatMap(([a, b]) => QUAD.map(([p, q]) => product(a, b, p, q))).join("\n    ")}
  }
  ${QUAD.map(([a, b]) => store(a, b)).join("\n  ")}
}`;
  },
};
