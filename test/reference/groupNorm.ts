/** GroupNorm over NHWC (Wu and He 2018): statistics per image and group of neighbouring channels, in two passes. */
import { concat } from "./concat.ts";
import { dim, type RefTensor, tensor } from "./tensor.ts";

export interface GroupNormArgs {
  /** [N, H, W, C]. */
  x: RefTensor;
  /** [N, H, W, C2], appended to the channels of x. A group may reach across the seam. */
  x2?: RefTensor;
  gamma: RefTensor;
  beta: RefTensor;
  groups: number;
  eps: number;
  /** [N, 2C]: first C scales, then C shifts (resnet_time_scale_shift "scale_shift"): y · (1 + scale) + shift. */
  emb?: RefTensor;
}

/** The normalisation as one multiply-add per image and channel: y = x · scale + shift, both [N, C]. */
export function groupNormAffine(args: GroupNormArgs): { scale: RefTensor; shift: RefTensor } {
  const { gamma, beta, groups, eps, emb } = args;
  const x = args.x2 ? concat(args.x, args.x2) : args.x;
  const [n, pixels, c] = [dim(x, 0), dim(x, 1) * dim(x, 2), dim(x, 3)];
  const width = c / groups;
  const scale = tensor([n, c], 0);
  const shift = tensor([n, c], 0);
  for (let b = 0; b < n; b++)
    for (let g = 0; g < groups; g++) {
      const overGroup = (f: (v: number) => number) => {
        let sum = 0;
        for (let p = 0; p < pixels; p++)
          for (let k = g * width; k < (g + 1) * width; k++) sum += f(x.data[(b * pixels + p) * c + k]!);
        return sum / (pixels * width);
      };
      const mean = overGroup((v) => v);
      const rstd = 1 / Math.sqrt(overGroup((v) => (v - mean) ** 2) + eps);
      for (let k = g * width; k < (g + 1) * width; k++) {
        const more = emb ? 1 + emb.data[b * 2 * c + k]! : 1;
        scale.data[b * c + k] = rstd * gamma.data[k]! * more;
        shift.data[b * c + k] = (beta.data[k]! - mean * rstd * gamma.data[k]!) * more;
        if (emb) shift.data[b * c + k] = shift.data[b * c + k]! + emb.data[b * 2 * c + c + k]!;
      }
    }
  return { scale, shift };
}

/** The normalised tensor itself, [N, H, W, C + C2]. */
export function groupNorm(args: GroupNormArgs): RefTensor {
  const { scale, shift } = groupNormAffine(args);
  const x = args.x2 ? concat(args.x, args.x2) : args.x;
  const [pixels, c] = [dim(x, 1) * dim(x, 2), dim(x, 3)];
  return tensor(x.shape, (i) => {
    const row = Math.floor(i / (pixels * c)) * c + (i % c);
    return x.data[i]! * scale.data[row]! + shift.data[row]!;
  });
}
