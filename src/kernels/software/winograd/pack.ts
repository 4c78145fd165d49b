/** U = G g Gᵀ of every filter of a tensor, in the layout of packed weights with the 36 products as taps. */
import { defineKernel } from "../../../runtime/kernel.ts";
import { f32, range, wgsl } from "../../../runtime/wgsl.ts";
import { type PackFlags, packing, readTaps } from "../../pack.ts";
import { costOf } from "../../parts/threads.ts";
import { FILTER, PATCH } from "./transforms.ts";

/** One line of G times three variables, as a sum of its nonzero terms. */
const combine = (line: readonly number[], v: readonly string[]): string =>
  line
    .map((factor, i) => (factor === 0 ? "" : `${v[i]} * ${f32(factor)}`))
    .filter(Boolean)
    .join(" + ");

const filter = range(3).flatMap((i) => range(3).map((j) => [i, j] as const));

/** Extra scalars: those of `packWeights`. */
export const packWinograd = defineKernel<PackFlags>({
  name: "packWinograd",
  tensors: { raw: "in *", inputs: "in *", outputs: "in? *", w: "out *" },
  variants: packing(
    "CP OC",
    (k) => wgsl`
  ${filter.map(([y, x]) => `var g${y}${x} = vec4f();`).join(" ")}
  ${readTaps(
    k,
    "9u",
    filter.map(([y, x]) => [`g${y}${x}`, `${y * 3 + x}u`]),
  )}
  ${FILTER.map((line, y) =>
    range(3)
      .map((x) => `let h${y}${x} = ${combine(line, [`g0${x}`, `g1${x}`, `g2${x}`])};`)
      .join(" "),
  ).join("\n  ")}
  ${FILTER.flatMap((_, y) =>
    FILTER.map((line, x) =>
      k.store(
        "w",
        `(o4 / L * SPAN + AT + ${y * PATCH + x}u * CP + position) * L + o4 % L`,
        combine(line, [`h${y}0`, `h${y}1`, `h${y}2`]),
      ),
    ),
  ).join("\n  ")}`,
  ),
  cost: costOf("CP OC", { flops: 0, bytes: 16 * 45 }),
});
