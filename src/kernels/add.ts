/** y = (a + b)·SCALE, for sums that no convolution's epilogue could take. */
import { defineKernel, LINEAR_INDEX, linearGrid, mainLinear } from "../runtime/kernel.ts";
import { wgsl } from "../runtime/wgsl.ts";

export const add = defineKernel({
  name: "add",
  tensors: { a: "in N H W C", b: "in N H W C", y: "out N H W C" },
  floats: ["SCALE"],
  variants: [
    {
      name: "direct",
      workgroup: (target) => (target.software ? 32 : 64),
      grid: (d, batch, wg) => linearGrid(batch * (d.H as number) * (d.W as number) * (d.C4 as number), wg),
      wgsl: (k) => wgsl`
${k.header}
${mainLinear(k.workgroup)} {
  ${k.prelude}
  let i = ${LINEAR_INDEX};
  if (i >= N * H * W * C4) { return; }
  ${k.store("y", "i", `(${k.load("a", "i")} + ${k.load("b", "i")}) * SCALE`)}
}`,
    },
  ],
  cost(d, batch) {
    const elements = batch * (d.H as number) * (d.W as number) * (d.C4 as number) * 4;
    return { flops: 2 * elements, bytes: 12 * elements };
  },
});
