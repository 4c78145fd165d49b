/**
 * Materialises a load map: normalise, activate, concatenate, upsample, average-pool. On software adapters every
 * convolution with a normalised or activated input reads the result of one such pass, because exp and a division cost as
 * much there as dozens of multiply-adds; on GPUs it serves consumers that cannot fuse a load map.
 */

import { ShapeError } from "../runtime/errors.ts";
import { type Codegen, defineKernel } from "../runtime/kernel.ts";
import { wgsl } from "../runtime/wgsl.ts";
import { LOAD_TENSORS, type LoadFlags, loadHelpers, loadScalars, readInput } from "./parts/loadMap.ts";
import { inGrid } from "./parts/threads.ts";
import { applyLines } from "./software/applyLines.ts";

export interface ApplyFlags extends LoadFlags {
  /** Average over 2×2 pixels of the activated input (AvgPool2d(2)). */
  pool: boolean;
}

function body(k: Codegen<ApplyFlags>): string {
  const { pool } = k.flags;
  const offsets = pool ? ["00", "01", "10", "11"] : ["00"];
  const read = (o: string) =>
    readInput(k, `v${o}`, "n", pool ? `(iy + ${o[0]})` : "iy", pool ? `(ix + ${o[1]})` : "ix", "c4");
  return wgsl`
  let n = id.z;
  let c4 = id.x % C4;
  let ix = i32(id.x / C4)${pool ? " * 2" : ""};
  let iy = i32(id.y)${pool ? " * 2" : ""};
  ${offsets.map(read).join("\n")}
  ${k.store("y", "(n * HO + id.y) * WO * C4 + id.x", pool ? "(v00 + v01 + v10 + v11) * 0.25" : "v00")}`;
}

/** y = pool(upsample(act(affine(concat(a, b))))) */
export const apply = defineKernel<ApplyFlags>({
  name: "apply",
  tensors: { ...LOAD_TENSORS, y: "out N HO WO CY" },
  scalars(dims, flags) {
    const sizes = loadScalars(dims, flags);
    if (sizes.C4 !== dims.CY4) throw new ShapeError("apply", "y", `${sizes.C4} channel groups`, [dims.CY4 ?? 0]);
    return sizes;
  },
  variants: [applyLines, ...inGrid(["WO C4", "HO", "N"], { functions: loadHelpers, body })],
  cost(d, batch, flags) {
    const out = (d.HO as number) * (d.WO as number) * (d.C4 as number) * 4 * batch;
    const input = (d.HA as number) * (d.WA as number) * (d.C4 as number) * 4 * batch;
    return { flops: out * (flags.act === "none" ? 2 : 8), bytes: (out + input) * 4 };
  },
});
