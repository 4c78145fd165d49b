/**
 * Embedding rows. The time-embedding table has one row per (step, image): row r = step·B + image with B =
 * frame.images and steps counted from frame.first. `gatherRows` picks for each row a row of a source table: by step (sinusoids of the
 * schedule), by image (per-image timesteps, class vectors) or by the image's class label.
 */
import { defineKernel, type Flags, LINEAR_INDEX, linearGrid, mainLinear } from "../runtime/kernel.ts";
import { wgsl } from "../runtime/wgsl.ts";

export interface RowFlags extends Flags {
  by: "step" | "image" | "label";
}

const ROW: Record<RowFlags["by"], string> = {
  step: "r / frame.images + frame.first",
  image: "r % frame.images",
  label: "labels[r % frame.images]",
};

export const gatherRows = defineKernel<RowFlags>({
  name: "gatherRows",
  tensors: { table: "in R C", labels: "in? *", y: "out N H W C" },
  frame: true,
  variants: [
    {
      name: "direct",
      workgroup: (target) => (target.software ? 32 : 64),
      grid: (d, batch, wg) => linearGrid(batch * (d.C4 as number), wg),
      wgsl: (k) => wgsl`
${k.header}
${mainLinear(k.workgroup)} {
  ${k.prelude}
  let i = ${LINEAR_INDEX};
  if (i >= N * C4) { return; }
  let r = i / C4;
  let row = ${ROW[k.flags.by]};
  ${k.store("y", "i", k.load("table", "row * C4 + i % C4"))}
}`,
    },
  ],
  cost: (d, batch) => ({ flops: 0, bytes: 32 * batch * (d.C4 as number) }),
});
