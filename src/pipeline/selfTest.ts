/**
 * Whether our kernels compute the right thing on a device: a handful of small cases on the device's own target, each
 * against plain f64 loops, in every way that sizes may choose. `ddim doctor` prints the results. Works in browsers too.
 */
import type { Device } from "../runtime/device.ts";
import type { Outcome } from "./selfTest/harness.ts";
import { attention, convolution, groupNorm, textures } from "./selfTest/network.ts";
import { noise, philox, pixels, step } from "./selfTest/sampler.ts";

export interface SelfTestResult extends Outcome {
  name: string;
}

const CHECKS: Readonly<Record<string, (device: Device) => Promise<Outcome>>> = {
  "texture loads": textures,
  "conv2d f32": (device) => convolution(device, "f32"),
  "conv2d f16": (device) => convolution(device, "f16"),
  groupNorm,
  attention,
  "Philox on the host": philox,
  "starting noise": noise,
  "DDIM step": step,
  pixels,
};

/**
 * Runs every check, one after the other.
 * @param device opened with validation, so that mistakes such as aliased bindings are not hidden
 * @returns results as they come; a kernel that fails to compile or run is a failed check, not an exception
 */
export async function* selfTest(device: Device): AsyncGenerator<SelfTestResult> {
  for (const [name, check] of Object.entries(CHECKS))
    yield await check(device).then(
      (outcome) => ({ name, ...outcome }),
      (error: Error) => ({ name, ok: false, detail: error.message }),
    );
}
