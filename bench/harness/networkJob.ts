/** A network, or a whole run of the sampler on it, as our engine holds it. */

import { type Load, loadOf } from "../../src/cli/software/threads.ts";
import { readForwardInputs } from "../../src/cli/tensorFiles.ts";
import { createPipeline } from "../../src/pipeline/load.ts";
import type { Model } from "../../src/pipeline/model.ts";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import type { ForwardInputs } from "../../src/pipeline/types.ts";
import type { Device } from "../../src/runtime/device.ts";
import { openModelRef } from "./models.ts";
import { EngineError, type Job, type OpenJob, type RunMode } from "./protocol.ts";

/** Opens a device for what will be evaluated at once. */
export type OpenFor = (model: Model, load: Load) => Promise<Device>;

async function load(openFor: OpenFor, job: Job): Promise<{ pipeline: DiffusionPipeline; inputs: ForwardInputs }> {
  if (!job.model) throw new EngineError("the job names no model");
  const model = await openModelRef(job.model);
  const inputs = await readForwardInputs(job.inputs, model, "error", new AbortController().signal);
  const device = await openFor(model, loadOf(inputs));
  return { pipeline: await createPipeline(model, { device, dtype: job.dtype }), inputs };
}

async function repeat(times: number, work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < times; i++) await work();
  return (performance.now() - start) / times;
}

export async function openNetwork(openFor: OpenFor, job: Job): Promise<OpenJob> {
  const { pipeline, inputs } = await load(openFor, job);
  const held = await pipeline.network.hold(inputs);
  return {
    modes: ["host", "device"],
    // Both with the time embedding, which the peers' networks contain.
    run: (times: number, mode: RunMode) =>
      mode === "device" ? held.time(times, true) : repeat(times, () => held.roundTrip()),
    output: async () => (await held.roundTrip()).data,
    profile: () => held.profile(),
    async dispose() {
      await held.dispose();
      pipeline.dispose();
    },
  };
}

export async function openSampler(openFor: OpenFor, job: Job): Promise<OpenJob> {
  const { pipeline, inputs } = await load(openFor, job);
  const steps = job.loop?.steps.length;
  const generate = () =>
    pipeline.generate({
      steps,
      noise: inputs.sample,
      seed: 0,
      classes: inputs.classLabels,
      batch: inputs.sample.shape[0],
    });
  return {
    modes: ["host"],
    run: (times: number) => repeat(times, generate),
    output: async () => (await generate()).samples.data,
    dispose: async () => pipeline.dispose(),
  };
}
