/** Between the API's channels-first tensors and a network's input and output: channels last, padded to vec4. */
import { padded4 } from "./values.ts";

/** Numbers of the API, channels first: [N, C, H, W] wherever nothing else is said. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** [N, C, pixels] to [N, pixels, C padded]. */
export function toChannelsLast(
  data: ArrayLike<number>,
  n: number,
  channels: number,
  pixels: number,
): Float32Array<ArrayBuffer> {
  const stride = padded4(channels);
  const out = new Float32Array(n * pixels * stride);
  for (let i = 0; i < n; i++)
    for (let c = 0; c < channels; c++)
      for (let p = 0; p < pixels; p++)
        out[(i * pixels + p) * stride + c] = data[(i * channels + c) * pixels + p] as number;
  return out;
}

/** [N, pixels, C padded] to [N, C, pixels]. */
export function toChannelsFirst(
  values: Float32Array,
  n: number,
  channels: number,
  pixels: number,
): Float32Array<ArrayBuffer> {
  const stride = padded4(channels);
  const data = new Float32Array(n * channels * pixels);
  for (let i = 0; i < n; i++)
    for (let c = 0; c < channels; c++)
      for (let p = 0; p < pixels; p++)
        data[(i * channels + c) * pixels + p] = values[(i * pixels + p) * stride + c] as number;
  return data;
}
