/**
 * The convolution of a UNet with everything that our graph folds into it: concat(x, x2) → affine → activation → nearest
 * ×2 → zero padding (after the activation, so a padded pixel is 0 and not act(shift)) → convolution →
 * (acc + bias + channelAdd + residual) · outScale.
 */
import { type Act, activate } from "./activations.ts";
import { concat } from "./concat.ts";
import { dim, type RefTensor, tensor } from "./tensor.ts";
import { upsample } from "./upsample.ts";

export interface Conv2dArgs {
  /** [N, H, W, C]. */
  x: RefTensor;
  /** [N, H, W, C2], appended to the channels of x. */
  x2?: RefTensor;
  /** Per image and channel of the concatenation, [N, I]: x · scale + shift. */
  affine?: { scale: RefTensor; shift: RefTensor };
  act?: Act;
  upsample?: boolean;
  /** [O, I, kh, kw]. */
  weight: RefTensor;
  bias?: RefTensor;
  stride: number;
  /** Top, left, bottom, right. */
  pad: readonly [number, number, number, number];
  /** [N, O]: the time embedding. */
  channelAdd?: RefTensor;
  /** [N, Ho, Wo, O]. */
  residual?: RefTensor;
  outScale?: number;
}

export function conv2d(args: Conv2dArgs): RefTensor {
  const { affine, act = "none", weight, bias, stride, pad, channelAdd, residual, outScale = 1 } = args;
  const joined = args.x2 ? concat(args.x, args.x2) : args.x;
  const [n, channels] = [dim(joined, 0), dim(joined, 3)];
  const perImage = joined.data.length / n;
  const mapped = tensor(joined.shape, (i) => {
    const row = Math.floor(i / perImage) * channels + (i % channels);
    const v = joined.data[i]!;
    return activate(act, affine ? v * affine.scale.data[row]! + affine.shift.data[row]! : v);
  });
  const x = args.upsample ? upsample(mapped) : mapped;
  const [h, w, o, kh, kw] = [dim(x, 1), dim(x, 2), dim(weight, 0), dim(weight, 2), dim(weight, 3)];
  const ho = Math.floor((h + pad[0] + pad[2] - kh) / stride) + 1;
  const wo = Math.floor((w + pad[1] + pad[3] - kw) / stride) + 1;
  const [xs, ws] = [x.data, weight.data];
  return tensor([n, ho, wo, o], (i) => {
    const [k, ox, oy] = [i % o, Math.floor(i / o) % wo, Math.floor(i / (o * wo)) % ho];
    const b = Math.floor(i / (o * wo * ho));
    let sum = bias ? bias.data[k]! : 0;
    for (let ky = 0; ky < kh; ky++)
      for (let kx = 0; kx < kw; kx++) {
        const [y, xx] = [oy * stride + ky - pad[0], ox * stride + kx - pad[1]];
        if (y < 0 || y >= h || xx < 0 || xx >= w) continue;
        const pixel = ((b * h + y) * w + xx) * channels;
        for (let c = 0; c < channels; c++) sum += xs[pixel + c]! * ws[((k * channels + c) * kh + ky) * kw + kx]!;
      }
    if (channelAdd) sum += channelAdd.data[b * o + k]!;
    if (residual) sum += residual.data[i]!;
    return sum * outScale;
  });
}
