/**
 * The last part of a latent model's run: a sampler's states become pictures without leaving the GPU. Some are decoded at a
 * time, as memory allows; too large ones in tiles.
 */

import type { Autoencoder, DecoderShape } from "../autoencoder/autoencoder.ts";
import { checkShape } from "../autoencoder/batches.ts";
import type { GpuCoder } from "../autoencoder/coder.ts";
import { fromSampler } from "../autoencoder/scaling.ts";
import { type AutoencoderSpec, latentScale } from "../autoencoder/spec.ts";
import type { RgbaImage } from "../image/rgba.ts";
import { toRgba } from "../kernels/sampling/rgba.ts";
import { targetFor } from "../kernels/target.ts";
import type { ImageSize } from "../network/configReader.ts";
import { readBack } from "../network/readback.ts";
import { inBatches } from "../runtime/batches.ts";
import type { Device } from "../runtime/device.ts";
import { NonFiniteError } from "../runtime/errors.ts";
import { type Judge, nonFiniteIn, overflowIn } from "../runtime/finite.ts";
import { type Tensor, toChannelsFirst, toChannelsLast } from "../runtime/layout.ts";
import { createValueArray, type GpuArray, uploadBuffer } from "../runtime/memory.ts";
import { runPaced } from "../runtime/pacer.ts";
import { Program } from "../runtime/program.ts";
import { makeValue, padded4 } from "../runtime/values.ts";
import { scaled } from "./size.ts";

export interface DecodeInit extends ImageSize {
  readonly firstStage: Autoencoder;
  /** A sampler's latents, f32 [count or more, H, W, C padded to vec4]; stays the caller's. */
  readonly state: GPUBuffer;
  readonly count: number;
  /** Receives the pictures as bytes from `offset` on; nothing is read back then. */
  readonly pixels?: { readonly buffer: GPUBuffer; readonly offset: number };
  /** Throws when the work shall stop. */
  readonly check: () => void;
  /** Hears of pictures that are not finite; `number` is the first one's. */
  readonly judge: Judge;
  readonly number: number;
}

export interface Decoded {
  readonly images: RgbaImage[];
  /** [count, C, H, W] of the pictures, not clamped. */
  readonly samples: Float32Array<ArrayBuffer>;
}

/** Pictures of what a decoder leaves on the GPU. */
class Painter {
  private constructor(
    private readonly device: Device,
    private readonly program: Program,
    private readonly rgba: GpuArray,
    private readonly status: GpuArray,
  ) {}

  static async create(device: Device, { output, images }: GpuCoder): Promise<Painter> {
    const { value, array } = output;
    const target = targetFor(device);
    const [height, width] = value.shape as [number, number];
    const shape = [height, width];
    const u32 = { batched: true, dtype: "u32", storage: "buffer" } as const;
    const pixels = makeValue({ name: "rgba", shape, ...u32 });
    const status = makeValue({ name: "status", shape: [1], ...u32 });
    const tensors = { x: value, rgba: pixels, status };
    const calls = [toRgba.lower({ ...target, storage: "buffer" }, "pictures", tensors, {})];
    const made = await device.allocate("pictures", () => ({
      rgba: createValueArray(device, pixels, images),
      status: createValueArray(device, status, images),
    }));
    try {
      const external = new Map([
        [value, array],
        [pixels, made.rgba],
        [status, made.status],
      ]);
      const program = await Program.create(device, { label: "pictures", calls, batch: images, external });
      return new Painter(device, program, made.rgba, made.status);
    } catch (error) {
      for (const { object } of Object.values(made)) device.release(object);
      throw error;
    }
  }

  /** The first picture that is not finite, after {@link paint}; -1 where all are. */
  async nonFinite(count: number): Promise<number> {
    return new Uint32Array(await this.device.read(this.status.object, 4 * count)).findIndex((word) => word !== 0);
  }

  /** @param pixels where to leave them, instead of reading them back */
  async paint(count: number, { height, width }: ImageSize, pixels?: DecodeInit["pixels"]): Promise<RgbaImage[]> {
    const size = height * width * 4;
    const source = this.rgba.object as GPUBuffer;
    const encoder = this.device.gpu.createCommandEncoder();
    encoder.clearBuffer(this.status.object as GPUBuffer);
    this.program.encode(encoder);
    if (pixels) encoder.copyBufferToBuffer(source, 0, pixels.buffer, pixels.offset, count * size);
    this.device.submit([encoder.finish()]);
    if (pixels) return [];
    const bytes = await this.device.read(source, count * size);
    return Array.from({ length: count }, (_, i) => ({
      width,
      height,
      data: new Uint8ClampedArray(bytes, i * size, size),
    }));
  }

  dispose(): void {
    this.program.dispose();
    for (const { object } of [this.rgba, this.status]) this.device.release(object);
  }
}

/** One factor and shift for all channels go into the decoder; several are applied on the way into it. */
function decoderShape(spec: AutoencoderSpec, { height, width }: ImageSize): DecoderShape {
  if (spec.latents_mean || spec.latents_std) return { height, width };
  return { height, width, scale: 1 / spec.scaling_factor, shift: spec.shift_factor };
}

/**
 * Pictures of latents. Leaves nothing on the GPU but the decoder's weights.
 * @throws DeviceError "out-of-memory"; whatever `check` throws
 */
export async function decodeState(init: DecodeInit): Promise<Decoded> {
  const { firstStage, state, count, pixels, check, judge } = init;
  const { device, spec } = firstStage;
  const picture = scaled(init, latentScale(spec));
  const [points, channels] = [init.height * init.width, spec.latent_channels];
  const latent = points * padded4(channels) * 4;
  const image = spec.out_channels * picture.height * picture.width;
  const shape = decoderShape(spec, init);
  const most = firstStage.decoderImages(shape, count);
  const images: RgbaImage[] = [];
  const samples = new Float32Array(pixels ? 0 : count * image);
  let decoder: GpuCoder | undefined;
  let painter: Painter | undefined;
  const release = () => {
    painter?.dispose();
    decoder?.dispose();
    painter = undefined;
    decoder = undefined;
  };
  const decode = async (from: number, n: number) => {
    check();
    if (decoder?.images !== n) {
      release();
      decoder = await firstStage.decoder(shape, { images: n });
      painter = await Painter.create(device, decoder);
    }
    if (shape.scale === undefined) {
      const values = new Float32Array(await device.read(state, n * latent, from * latent));
      const data = toChannelsFirst(values, n, channels, points);
      const unscaled = fromSampler(spec, { shape: [n, channels, init.height, init.width], data });
      device.gpu.queue.writeBuffer(decoder.input, 0, toChannelsLast(unscaled.data, n, channels, points));
    } else {
      const encoder = device.gpu.createCommandEncoder();
      encoder.copyBufferToBuffer(state, from * latent, decoder.input, 0, n * latent);
      device.submit([encoder.finish()]);
    }
    await runPaced(device, decoder.program, check);
    const place = pixels && { ...pixels, offset: pixels.offset + from * picture.height * picture.width * 4 };
    const painted = (await painter?.paint(n, picture, place)) ?? [];
    judge(overflowIn(await decoder.program.overflows()));
    const bad = (await painter?.nonFinite(n)) ?? -1;
    if (bad >= 0) {
      const broken = init.number + from + bad;
      const failure = new NonFiniteError(`the decoded picture ${broken} is not finite`, { image: broken });
      judge(await (await import("./blame.ts")).blameWeights(failure, firstStage.model));
    }
    const read = pixels ? undefined : await readBack(device, decoder.output.value, decoder.output.array, n);
    return { painted, read };
  };
  try {
    for await (const { first, made } of inBatches(count, most, decode)) {
      images.push(...made.painted);
      if (made.read) samples.set(made.read.data, first * image);
    }
    return { images, samples };
  } finally {
    release();
  }
}

/**
 * Pictures [N, C, H, W] of latents [N, C, h, w] in the sampler's scale, the same as those of a run that ends with them.
 * @throws ShapeError, NonFiniteError, DeviceError; whatever `check` throws
 */
export async function decodeLatents(
  firstStage: Autoencoder,
  latents: Tensor,
  check: () => void,
  judge: Judge,
): Promise<Tensor> {
  const { device, spec } = firstStage;
  const channels = spec.latent_channels;
  const [n, height, width] = checkShape(latents, "decode", channels);
  judge(nonFiniteIn("latents", latents.data, n));
  const size = channels * height * width;
  // What one buffer holds.
  const most = Math.max(1, Math.floor(device.gpu.limits.maxBufferSize / (height * width * padded4(channels) * 4)));
  const picture = scaled({ height, width }, latentScale(spec));
  const shape = [n, spec.out_channels, picture.height, picture.width];
  const data = new Float32Array(shape.reduce((a, b) => a * b));
  const decode = async (from: number, count: number) => {
    const values = toChannelsLast(
      latents.data.subarray(from * size, (from + count) * size),
      count,
      channels,
      height * width,
    );
    const state = await device.allocate("latents", () => uploadBuffer(device, "latents", values));
    try {
      const init = { firstStage, state, count, height, width, check, judge, number: from };
      data.set((await decodeState(init)).samples, (from * data.length) / n);
    } finally {
      device.release(state);
    }
  };
  for await (const _ of inBatches(n, most, decode));
  return { shape, data };
}
