/** One batch of images through the whole loop: the network's evaluator and the sampler's loop, kept in step. */
import type { RgbaImage } from "../image/rgba.ts";
import type { Device } from "../runtime/device.ts";
import type { Target } from "../runtime/kernel.ts";
import { Pacer } from "../runtime/pacer.ts";
import { type KernelTiming, profileProgram } from "../runtime/profiler.ts";
import { SamplerLoop } from "../sampler/loop.ts";
import { torchRandn } from "../sampler/torchRandn.ts";
import { Evaluator, type LoweredNetwork } from "../unet/evaluator.ts";
import type { WeightStore } from "../unet/weights.ts";
import type { Model } from "./model.ts";
import type { ResolvedRun } from "./run.ts";
import type { Step } from "./types.ts";

export interface BatchInit {
  readonly device: Device;
  readonly target: Target;
  readonly model: Model;
  readonly lowered: LoweredNetwork;
  readonly weights: WeightStore;
  readonly run: ResolvedRun;
  /** Rows of the timestep table, one per step. */
  readonly timesteps: Float32Array;
  /** First image of the batch and how many. */
  readonly first: number;
  readonly images: number;
  /** Throws when the work shall stop: the reason of an abort, or that the pipeline was disposed. */
  readonly check: () => void;
  /** Receives this run's pictures instead of the result. */
  readonly pixels?: GPUBuffer;
  readonly profile: boolean;
  readonly onCompile?: (done: number, of: number) => void;
}

export interface BatchResult {
  readonly images: RgbaImage[];
  /** [images, C, H, W] */
  readonly samples: Float32Array;
  readonly timings?: KernelTiming[];
}

/** The given noise of this batch, or torch's; undefined where the GPU makes it. */
function hostNoise({ run, model, first, images }: BatchInit): Float32Array | undefined {
  const size = model.config.in_channels * run.height * run.width;
  if (run.noise) return run.noise.data.subarray(first * size, (first + images) * size);
  if (run.rng === "philox") return undefined;
  const noise = new Float32Array(images * size);
  for (let i = 0; i < images; i++) noise.set(torchRandn(run.seed + BigInt(first + i), size), i * size);
  return noise;
}

function labels({ run, model, first, images }: BatchInit): Uint32Array<ArrayBuffer> | undefined {
  if (!run.classes) return undefined;
  const own = run.classes.slice(first, first + images);
  const free = run.guidance === undefined ? [] : own.map(() => model.nullClass as number);
  return Uint32Array.from([...free, ...own]);
}

/**
 * Yields after each step is submitted, without waiting for it: at most two submissions are in flight. Returns the
 * images. Everything it allocated is freed when it ends, however it ends.
 * @throws whatever `check` throws; NonFiniteError
 */
export async function* sampleBatch(init: BatchInit): AsyncGenerator<Omit<Step, "ms">, BatchResult> {
  const { device, target, lowered, weights, run, model, images, first, check } = init;
  const { schedule } = run;
  const steps = schedule.steps.length;
  const { network } = lowered;
  const evaluator = await Evaluator.create(device, lowered, weights, {
    rows: images * (run.guidance === undefined ? 1 : 2),
    timesteps: init.timesteps,
    steps,
    classes: labels(init),
    onCompile: init.onCompile,
  });
  let loop: SamplerLoop | undefined;
  const pacer = new Pacer(device);
  try {
    loop = await SamplerLoop.create(device, target, {
      shape: [model.config.in_channels, run.height, run.width],
      schedule,
      coefficients: run.coefficients,
      seed: run.seed,
      images: Array.from({ length: images }, (_, i) => first + i),
      guidance: run.guidance,
      state: evaluator.state,
      output: { value: network.output, array: evaluator.output },
      frame: evaluator.frameBuffer,
    });
    const noise = hostNoise(init);
    if (noise) loop.writeNoise(noise);
    for (let i = 0; i < steps; i++) {
      check();
      for (const { from, to, flops } of pacer.segments(evaluator.main)) {
        const encoder = device.gpu.createCommandEncoder();
        if (i === 0 && from === 0 && !noise) loop.encodeNoise(encoder);
        if (from === 0) evaluator.begin(encoder, i);
        evaluator.main.encode(encoder, from, to);
        if (to === evaluator.main.dispatches.length) loop.encodeStep(encoder);
        await pacer.room();
        check();
        pacer.submit(encoder.finish(), flops);
      }
      const preview = loop.images.bind(loop, "x0");
      yield { index: i, of: steps, t: schedule.steps[i]?.t as number, image: first, images, preview };
    }
    await pacer.drain();
    check();
    await loop.check();
    if (init.pixels) loop.copyPixels(init.pixels, first * run.height * run.width * 4);
    const result = init.pixels
      ? { images: [], samples: new Float32Array(0) }
      : { images: await loop.images("x"), samples: await loop.samples() };
    if (!init.profile) return result;
    const timings = await profileProgram(device, evaluator.main);
    return { ...result, timings: [...timings, ...(await profileProgram(device, loop.step))] };
  } finally {
    await pacer.drain().catch(() => {});
    loop?.dispose();
    evaluator.dispose();
  }
}
