/** Depthwise convolution for software adapters: four neighbours of a line by one thread, which fetches every pixel once for all of them. */
import { type Flags, linearGrid, type Variant } from "../../runtime/kernel.ts";
import { ceilDiv } from "../../runtime/values.ts";
import { range, wgsl } from "../../runtime/wgsl.ts";
import { LINE_INDEX, mainInLine } from "../parts/threads.ts";

const PIXELS = 4;

export const depthwiseRows: Variant<Flags> = {
  name: "rows",
  when: (target) => target.software,
  workgroup: (target) => target.lanes || 32,
  grid: (d, batch, wg) => linearGrid(batch * (d.H as number) * ceilDiv(d.W as number, PIXELS) * (d.C4 as number), wg),
  wgsl: (k) => wgsl`
${k.header}
${mainInLine(k.workgroup)} {
  ${k.prelude}
  let i = ${LINE_INDEX};
  let quads = (W + ${PIXELS - 1}u) / ${PIXELS}u;
  if (i >= N * H * quads * C4) { return; }
  let c4 = i % C4;
  let x0 = i / C4 % quads * ${PIXELS}u;
  let oy = i / (C4 * quads) % H;
  let n = i / (C4 * quads * H);
  ${range(PIXELS)
    .map((p) => `var acc${p} = ${k.load("bias", "c4")};`)
    .join(" ")}
  for (var ky = 0u; ky < KH; ky++) {
    let iy = i32(oy + ky) - i32(KH / 2u);
    if (iy >= 0 && iy < i32(H)) {
      let line = (n * H + u32(iy)) * W;
      for (var kx = 0u; kx < KW + ${PIXELS - 1}u; kx++) {
        let ix = i32(x0 + kx) - i32(KW / 2u);
        var v = vec4f();
        if (ix >= 0 && ix < i32(W)) { v = ${k.load("x", "(line + u32(ix)) * C4 + c4")}; }
        // Pixel p of the four meets tap kx - p.
        ${range(PIXELS)
          .map(
            (p) =>
              `if (kx >= ${p}u && kx < KW + ${p}u) { acc${p} += v * ${k.load("w", `(ky * KW + kx - ${p}u) * 4u * C4 + c4`)}; }`,
          )
          .join("\n        ")}
      }
    }
  }
  ${range(PIXELS)
    .map((p) => `if (x0 + ${p}u < W) { ${k.store("y", `((n * H + oy) * W + x0 + ${p}u) * C4 + c4`, `acc${p}`)} }`)
    .join("\n  ")}
}`,
};
