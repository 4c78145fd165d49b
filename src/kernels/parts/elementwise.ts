/** Kernels that compute every vec4 of an image by itself. */
import {
  type Codegen,
  type Cost,
  defineKernel,
  type Flags,
  type Kernel,
  type KernelDef,
} from "../../runtime/kernel.ts";
import { costOf, inLine } from "./threads.ts";

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
    variants: inLine("N H W C4", { functions: () => functions, body: (k) => k.store("y", "i", value(k)) }),
    cost: costOf("N H W C4", { flops: 4 * cost.flops, bytes: 4 * cost.bytes }),
  });
