/**
 * One sampler step with the schedule's scalars already folded: guidance m = u + w (c − u), then
 * x0 = clip(k0 x + k1 m) and x_prev = k2 x0 + k3 x + k4 m + sigma z.
 */
import { type RefTensor, tensor } from "./tensor.ts";

export interface DdimStepArgs {
  /** [N, H, W, C]. */
  x: RefTensor;
  /** The network's output: like x; with `guidance` 2N images, the conditional N first. */
  model: RefTensor;
  guidance?: number;
  /** k0 to k4. */
  k: readonly [number, number, number, number, number];
  /** x0 is limited to ±clip. */
  clip?: number;
  sigma?: number;
  /** Like x. */
  noise?: RefTensor;
}

export function ddimStep(args: DdimStepArgs): { x0: RefTensor; prev: RefTensor } {
  const { x, model, guidance, k, clip = Number.POSITIVE_INFINITY, sigma = 0, noise } = args;
  const guided = (i: number) => {
    const c = model.data[i]!;
    const u = model.data[i + x.data.length]!;
    return guidance === undefined ? c : u + guidance * (c - u);
  };
  const x0 = tensor(x.shape, (i) => Math.min(Math.max(k[0] * x.data[i]! + k[1] * guided(i), -clip), clip));
  const prev = tensor(x.shape, (i) => {
    const mean = k[2] * x0.data[i]! + k[3] * x.data[i]! + k[4] * guided(i);
    return noise ? mean + sigma * noise.data[i]! : mean;
  });
  return { x0, prev };
}
