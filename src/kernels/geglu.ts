/** GEGLU (Shazeer, "GLU variants improve transformer", 2020): y = a·gelu(b) for the two halves a, b of the channels. */
import { defineKernel, LINEAR_INDEX, linearGrid, mainLinear } from "../runtime/kernel.ts";
import { wgsl } from "../runtime/wgsl.ts";
import { activationFunction } from "./parts/activations.ts";

/** The halves of x are two segments, each as wide as y. */
export const geglu = defineKernel({
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
