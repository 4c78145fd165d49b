/** The files that engines read: the network as ONNX, its inputs as safetensors, in a scratch folder. */
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { writeFile } from "../../src/cli/output.ts";
import type { Model } from "../../src/pipeline/model.ts";
import { makeSchedule } from "../../src/sampler/schedule.ts";
import { type EncodableTensor, encodeSafetensors } from "../../src/weights/encode.ts";
import { randomTensor } from "../../test/reference/tensor.ts";
import { exportGraph, writeOnnx } from "../onnx/export.ts";
import { kernelInputs, kernelOnnx, kernelParams } from "./kernelGraph.ts";
import { openModelRef } from "./models.ts";
import type { Job, ModelRef } from "./protocol.ts";
import type { Item } from "./workloads.ts";

const SEED = 20240611;
/** Where the inputs of single evaluations are: somewhere in the middle of the schedule. */
const TIMESTEP = 500;

const fileName = (text: string) => text.replace(/[^\w.-]+/g, "-");

function networkInputs(model: Model, shape: readonly number[], tokens: number): Record<string, EncodableTensor> {
  const n = shape[0] as number;
  const ids = (value: (i: number) => number): EncodableTensor => ({
    dtype: "I64",
    shape: [n],
    data: BigInt64Array.from({ length: n }, (_, i) => BigInt(value(i))),
  });
  const normal = (of: readonly number[], seed: number): EncodableTensor => ({
    dtype: "F32",
    shape: of,
    data: Float32Array.from(randomTensor(of, seed).data),
  });
  const { classes, context_dim: context } = model.config;
  const count = classes.kind === "embedding" ? classes.count : 0;
  return {
    sample: normal(shape, SEED),
    timestep: ids(() => TIMESTEP),
    ...(count > 0 ? { class_labels: ids((i) => i % count) } : {}),
    ...(context ? { encoder_hidden_states: normal([n, tokens, context], SEED + 1) } : {}),
  };
}

function loopOf(model: Model, steps: number): NonNullable<Job["loop"]> {
  const schedule = makeSchedule({ ...model.scheduler, steps });
  const { prediction, clip } = schedule;
  if (prediction !== "epsilon" && prediction !== "v_prediction" && prediction !== "sample")
    throw new TypeError(`internal: the peers' loop knows no ${prediction}`);
  return {
    prediction,
    clip,
    steps: schedule.steps.map((step) => ({
      t: step.tNetwork,
      alpha: step.alphaCumprod,
      alphaPrev: step.alphaCumprodPrev,
    })),
  };
}

export class Materials {
  constructor(
    /** Of its own; made here. */
    private readonly folder: string,
    /** Whether PyTorch takes part, which reads no ONNX. */
    private readonly torch: boolean,
  ) {
    mkdirSync(folder);
  }

  /** Makes what is not there yet. */
  async job({ source, workload }: Item, signal?: AbortSignal): Promise<Job> {
    const { dtype, batch, shape, steps } = workload;
    if (source.kind === "kernel") {
      const base = join(this.folder, fileName(workload.id));
      writeFile(`${base}.onnx`, await kernelOnnx(source.spec));
      writeFile(`${base}.safetensors`, encodeSafetensors(kernelInputs(source.spec)));
      const weights = this.torch ? `${base}-weights.safetensors` : undefined;
      if (weights) writeFile(weights, encodeSafetensors(kernelParams(source.spec)));
      const files = { onnx: `${base}.onnx`, inputs: `${base}.safetensors`, weights };
      return { kind: "kernel", dtype, kernel: source.spec, ...files };
    }
    const { model: ref, size, tokens = 1 } = source;
    const model = await openModelRef(ref);
    const base = join(
      this.folder,
      fileName(`${ref.folder.slice(-40)} ${ref.randomWeights} ${size.height}x${size.width} b${batch}`),
    );
    const onnx = `${base}-${dtype}.onnx`;
    if (!existsSync(onnx))
      await writeOnnx(onnx, model, exportGraph(model, { size, batch, dtype, contextLength: tokens }), { signal });
    const inputs = `${base}.safetensors`;
    writeFile(inputs, encodeSafetensors(networkInputs(model, shape, tokens)));
    const loop = source.kind === "sampler" && steps !== undefined ? loopOf(model, steps) : undefined;
    const weights = this.torch ? await this.#diffusersFolder(ref, model, `${base}-diffusers`) : undefined;
    return { kind: source.kind, dtype, model: ref, inputs, onnx, weights, loop };
  }

  /** Where diffusers finds the network, weights that are made up written out. */
  async #diffusersFolder({ folder, randomWeights }: ModelRef, model: Model, target: string): Promise<string> {
    if (randomWeights === undefined) return join(folder, "unet");
    if (existsSync(target)) return target;
    mkdirSync(target);
    writeFile(join(target, "config.json"), readFileSync(join(folder, "config.json")));
    const entries: [string, EncodableTensor][] = [];
    for (const [name, { shape }] of model.checkpoint.tensors)
      entries.push([name, { dtype: "F32", shape, data: await model.checkpoint.read(name) }]);
    writeFile(join(target, "diffusion_pytorch_model.safetensors"), encodeSafetensors(Object.fromEntries(entries)));
    return target;
  }

  /** Takes the files away, which may be gigabytes; what is needed again is made again. */
  clear(): void {
    rmSync(this.folder, { recursive: true, force: true });
    mkdirSync(this.folder);
  }

  /** A file for an engine's result. */
  output(name: string): string {
    return join(this.folder, `${fileName(name)}.f32`);
  }
}
