/** Any number of images through one half of an autoencoder, some at a time. */
import { readBack } from "../network/readback.ts";
import { inBatches } from "../runtime/batches.ts";
import type { Device } from "../runtime/device.ts";
import { ShapeError } from "../runtime/errors.ts";
import { type Judge, nonFiniteIn, overflowIn } from "../runtime/finite.ts";
import { type Tensor, toChannelsLast } from "../runtime/layout.ts";
import { runPaced } from "../runtime/pacer.ts";
import type { CoderInit, GpuCoder } from "./coder.ts";

/** @returns how many images, their height and width. @throws ShapeError */
export function checkShape(
  { shape, data }: Tensor,
  where: string,
  channels: number,
): [n: number, height: number, width: number] {
  const [n = 0, c, h = 0, w = 0] = shape;
  if (shape.length !== 4 || n < 1 || c !== channels || h < 1 || w < 1)
    throw new ShapeError(where, "sample", `[N, ${channels}, H, W]`, shape);
  if (data.length !== n * c * h * w) throw new ShapeError(where, "sample", `${n * c * h * w} values`, [data.length]);
  return [n, h, w];
}

export interface BatchesInit {
  readonly device: Device;
  /** [N, C, H, W] */
  readonly input: Tensor;
  /** How many images at a time. */
  readonly most: number;
  readonly create: (init: CoderInit) => Promise<GpuCoder>;
  /** Throws when the work shall stop. */
  readonly check: () => void;
  /** Hears of numbers that are not finite. */
  readonly judge: Judge;
  readonly onBatch?: (made: { readonly first: number; readonly images: Tensor }) => unknown;
}

export interface BatchesResult {
  /** [N, C, H, W] */
  readonly output: Tensor;
  /** Entries of the codebook, N·H·W of the input's pixels, where the coders look them up. */
  readonly indices: Uint32Array | null;
}

/** Leaves nothing on the GPU. */
export async function runBatches({
  device,
  input,
  most,
  create,
  check,
  judge,
  onBatch,
}: BatchesInit): Promise<BatchesResult> {
  const [n, channels, height, width] = input.shape as [number, number, number, number];
  const [pixels, image] = [height * width, channels * height * width];
  judge(nonFiniteIn("sample", input.data, n));
  let coder: GpuCoder | undefined;
  let output: Tensor | undefined;
  let indices: Uint32Array | null = null;
  const code = async (first: number, images: number) => {
    check();
    if (coder?.images !== images) {
      coder?.dispose();
      coder = undefined;
      coder = await create({ images });
    }
    const own = input.data.subarray(first * image, (first + images) * image);
    device.gpu.queue.writeBuffer(coder.input, 0, toChannelsLast(own, images, channels, pixels));
    await runPaced(device, coder.program, check);
    const { value, array } = coder.output;
    const part = await readBack(device, value, array, images);
    const found = coder.indices && (await device.read(coder.indices.object as GPUBuffer, images * pixels * 4));
    judge(overflowIn(await coder.program.overflows()));
    judge(nonFiniteIn("the output", part.data, images, first));
    return { part, found };
  };
  try {
    for await (const { first, images, made } of inBatches(n, most, code)) {
      const { part, found } = made;
      const size = part.data.length / images;
      output ??= { shape: [n, ...part.shape.slice(1)], data: new Float32Array(n * size) };
      output.data.set(part.data, first * size);
      if (found) {
        indices ??= new Uint32Array(n * pixels);
        indices.set(new Uint32Array(found), first * pixels);
      }
      await onBatch?.({ first, images: part });
    }
    return { output: output as Tensor, indices };
  } finally {
    coder?.dispose();
  }
}
