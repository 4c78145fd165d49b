/** Whether the numbers of a model's network stay within f16, for `ddim doctor -m`. */
import { createPipeline } from "../pipeline/load.ts";
import type { Model } from "../pipeline/model.ts";
import type { SelfTestResult } from "../pipeline/selfTest.ts";
import type { Device } from "../runtime/device.ts";
import { inputsOf } from "./ownInputs.ts";

const STEPS = 4;

/** Evaluates the network in f16 at a few timesteps, on noise. */
export async function halfRange(model: Model, device: Device, signal: AbortSignal): Promise<SelfTestResult> {
  const found: string[] = [];
  const onWarning = (text: string) => found.push(text);
  using pipeline = await createPipeline(model, { device, dtype: "f16", nonFinite: "warn", onWarning, signal });
  const last = (model.scheduler?.num_train_timesteps ?? 1000) - 1;
  for (let i = 0; i <= STEPS; i++)
    await pipeline.network.forward(inputsOf(model, Math.round((last * i) / STEPS)), { signal });
  const detail = found[0] ?? `no number left its range in ${STEPS + 1} evaluations on noise, t = 0 to ${last}`;
  return { name: `${model.name} in f16`, ok: found.length === 0, detail };
}
