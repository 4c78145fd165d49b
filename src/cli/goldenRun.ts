/**
 * The default model from seed to image, the last checks of `ddim doctor`: compared with what diffusers computes in
 * float64, and how far an image drifts when weights and activations are stored as f16.
 */

import { openModel } from "../node/model.ts";
import { createPipeline } from "../pipeline/load.ts";
import type { DiffusionPipeline } from "../pipeline/pipeline.ts";
import type { SelfTestResult } from "../pipeline/selfTest.ts";
import type { Device } from "../runtime/device.ts";
import { modelSource } from "./modelFlag.ts";

/**
 * pixel-avatars-16, seed 1, class 0, 4 steps: every 67th value of the image, C x H x W in -1..1. By UNet2DModel and
 * DDIMScheduler of diffusers 0.42.1 in float64 with use_clipped_model_output, from the x_T of docs/rng.md.
 */
const EXPECTED = [0.5527, 0.6712, 0.6107, 0.5683, 0.4413, 0.4326, 0.46, 0.3753, -0.3343, 0.4233, 0.6937, 0.7209];
const STRIDE = 67;
const TOLERANCE = 1e-3;

/** Root mean square, in -1..1: an eight-bit level is 0.008. */
const DRIFT = 0.01;
const DRIFT_RUN = { seed: 1, count: 8, steps: 20 };

export async function* goldenRun(device: Device, signal: AbortSignal): AsyncGenerator<SelfTestResult> {
  const model = await openModel(modelSource({}), { signal });
  const open = (dtype: "f32" | "f16") => createPipeline(model, { device, dtype, signal });
  const images = async (pipeline: DiffusionPipeline) =>
    (await pipeline.generate({ ...DRIFT_RUN, signal })).samples.data;
  using full = await open("f32");
  const { samples } = await full.generate({ seed: 1, classes: [0], steps: 4, signal });
  const errors = EXPECTED.map((value, i) => Math.abs((samples.data[i * STRIDE] as number) - value));
  const worst = Math.max(...errors);
  yield {
    name: `${model.name}, seed to image`,
    ok: worst <= TOLERANCE,
    detail: `largest error ${worst.toExponential(1)} (allowed ${TOLERANCE})`,
  };
  using half = await open("f16");
  yield { name: `${model.name}, f16 against f32`, ...driftOf(await images(half), await images(full)) };
}

/** How far final images are apart. */
function driftOf(images: Float32Array, reference: Float32Array): { ok: boolean; detail: string } {
  const apart = images.map((v, i) => Math.abs(v - (reference[i] as number)));
  const rms = Math.sqrt(apart.reduce((sum, v) => sum + v * v, 0) / apart.length);
  const largest = apart.reduce((a, b) => Math.max(a, b), 0);
  // Images span 2.
  const psnr = 20 * Math.log10(2 / rms);
  return {
    ok: rms <= DRIFT,
    detail:
      `final images after ${DRIFT_RUN.steps} steps drift by ${rms.toExponential(1)} rms (allowed ${DRIFT}), ` +
      `${largest.toExponential(1)} at most, PSNR ${psnr.toFixed(0)} dB`,
  };
}
