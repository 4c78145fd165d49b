/** Kernels that compute every vec4 of an image by itself. */
import {
  type Codegen,
  type Cost,
  defineKernel,
  type Flags,
  type Kernel,
  type KernelDef,
  LINEAR_INDEX,
  linearGrid,
  mainLinear,
} from "../../runtime/kernel.ts";
import { wgsl } from "../../runtime/wgsl.ts";

type ElementwiseDef = Pick<KernelDef<Flags>, "name" | "tensors" | "floats"> & {
  /** WGSL of functions that `value` calls. */
  readonly functions?: string;
  /** The vec4f that goes to place `i` of y [N, H, W, C]. */
  value(k: Codegen<Flags>): string;
  /** Of one element. */
  readonly cost: Cost;
};

export const elementwise = ({ functions = "", value, cost, ...def }: ElementwiseDef): Kernel<Flags> =>
  defineKernel({
    ...def,
    variants: [
      {
        name: "direct",
        workgroup: (target) => (target.software ? 32 : 64),
        grid: (d, batch, wg) => linearGrid(batch * (d.H as number) * (d.W as number) * (d.C4 as number), wg),
        wgsl: (k) => wgsl`
${k.header}
${functions}
${mainLinear(k.workgroup)} {
  ${k.prelude}
  let i = ${LINEAR_INDEX};
  if (i >= N * H * W * C4) { return; }
  ${k.store("y", "i", value(k))}
}`,
      },
    ],
    cost(d, batch) {
      const elements = batch * (d.H as number) * (d.W as number) * (d.C4 as number) * 4;
      return { flops: cost.flops * elements, bytes: cost.bytes * elements };
    },
  });
