/**
 * The default model from seed to image, compared with what diffusers computes in float64: the last check of `ddim doctor`.
 */

import { openModel } from "../node/model.ts";
import { createPipeline } from "../pipeline/load.ts";
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

export async function goldenRun(device: Device, signal: AbortSignal): Promise<SelfTestResult> {
  const pipeline = await createPipeline(await openModel(modelSource(undefined), { signal }), { device, signal });
  try {
    const { samples } = await pipeline.generate({ seed: 1, classes: [0], steps: 4, signal });
    const errors = EXPECTED.map((value, i) => Math.abs((samples.data[i * STRIDE] as number) - value));
    const worst = Math.max(...errors);
    return {
      name: `${pipeline.model.name}, seed to image`,
      ok: worst <= TOLERANCE,
      detail: `largest error ${worst.toExponential(1)} (allowed ${TOLERANCE})`,
    };
  } finally {
    pipeline.dispose();
  }
}
