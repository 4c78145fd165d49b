/** GEGLU (Shazeer, "GLU variants improve transformer", 2020): y = a·gelu(b) for the two halves a, b of the channels. */
import { defineKernel, LINEAR_INDEX, linearGrid, mainLinear } from "../../runtime/kernel.ts";
import type { Value } from "../../runtime/values.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { activationFunction } from "../parts/activations.ts";
import { hwc } from "./node.ts";
import { defineOp } from "./operation.ts";

export const gegluKernel = defineKernel({
  name: "geglu",
  tensors: { x: "in N H W X", y: "out N H W C" },
  variants: [
    {
      name: "direct",
      workgroup: (target) => (target.software ? 32 : 64),
      grid: (d, batch, wg) => linearGrid(batch * (d.H as number) * (d.W as number) * (d.C4 as number), wg),
      wgsl: (k) => wgsl`
${k.header}
${activationFunction("gelu")}
${mainLinear(k.workgroup)} {
  ${k.prelude}
  let i = ${LINEAR_INDEX};
  if (i >= N * H * W * C4) { return; }
  let value = i / C4 * 2u * C4 + i % C4;
  ${k.store("y", "i", `${k.load("x", "value")} * activate(${k.load("x", "value + C4")})`)}
}`,
    },
  ],
  cost(d, batch) {
    const elements = batch * (d.H as number) * (d.W as number) * (d.C4 as number) * 4;
    return { flops: 20 * elements, bytes: 12 * elements };
  },
});

/** The halves of x have to be two segments of equal width. */
export const geglu = defineOp({
  name: "geglu",
  build(graph, label, x: Value) {
    const [h, w, c] = hwc(x);
    return { x, y: graph.value(`${label}.geglu`, [h, w, c / 2]) };
  },
  reads: ({ x }) => [x],
  lower({ target, calls }, { label, x, y }) {
    calls.push(gegluKernel.lower(target, label, { x, y }, {}));
  },
});
