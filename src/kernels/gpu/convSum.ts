/** Adds the partial sums of a split convolution in order, and finishes like every other convolution. */
import { defineKernel } from "../../runtime/kernel.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { CONV_FLOATS, epilogue, OUTPUT_TENSORS } from "../conv2d/contract.ts";
import { inLine } from "../parts/threads.ts";

const { w: _, ...FINISHING_TENSORS } = OUTPUT_TENSORS;

export const convSum = defineKernel({
  name: "convSum",
  tensors: { partial: "in N SPLITS HO WO O", ...FINISHING_TENSORS },
  floats: CONV_FLOATS,
  variants: inLine("N HO WO O4", {
    body: (k) => wgsl`
  let image = HO * WO * O4;
  let n = i / image;
  var sum = vec4f();
  for (var s = 0u; s < SPLITS; s++) { sum += ${k.load("partial", "(n * SPLITS + s) * image + i % image")}; }
  let m = i / O4;
  let o4 = i % O4;
  ${epilogue(k, "sum", "n", "m", "o4")}`,
  }),
  cost(d, batch) {
    const out = batch * (d.HO as number) * (d.WO as number) * (d.O4 as number) * 4;
    return { flops: out * (d.SPLITS as number), bytes: 4 * out * ((d.SPLITS as number) + 1) };
  },
});
