/** A network's values, read back in the form of the API. */
import type { Device } from "../runtime/device.ts";
import type { Tensor } from "../runtime/layout.ts";
import type { GpuArray } from "../runtime/memory.ts";
import { channelGroups, channelPositions, unitBytes, unitCount, type Value } from "../runtime/values.ts";
import { f16ToF32 } from "../weights/convert.ts";

/** [N, C, H, W] of a value [H, W, C]; [N, H·W, C] inside transformers; [N, C] of embeddings. */
export type TensorForm = "image" | "tokens" | "vector";

/** The first `n` images (or vectors) of a value. */
export async function readBack(
  device: Device,
  value: Value,
  array: GpuArray,
  n: number,
  form: TensorForm = "image",
): Promise<Tensor> {
  const raw = await device.read(array.object, unitCount(value, n) * unitBytes(value.dtype));
  const stored = value.dtype === "f16" ? f16ToF32(new Uint16Array(raw)) : new Float32Array(raw);
  return unstored(value, stored, n, form);
}

function unstored(value: Value, stored: Float32Array, n: number, form: TensorForm): Tensor {
  const [h, w, c] = [...[1, 1, 1], ...value.shape].slice(-3) as [number, number, number];
  const [pixels, stride] = [h * w, channelGroups(value.segments) * 4];
  const [perChannel, perPixel] = form === "image" ? [pixels, 1] : [1, c];
  const data = new Float32Array(n * pixels * c);
  channelPositions(value.segments).forEach((position, channel) => {
    for (let i = 0; i < n; i++)
      for (let p = 0; p < pixels; p++)
        data[i * pixels * c + channel * perChannel + p * perPixel] = stored[
          (i * pixels + p) * stride + position
        ] as number;
  });
  const shape = form === "image" ? [n, c, h, w] : form === "tokens" ? [n, pixels, c] : [n, c];
  return { shape, data };
}
