/** A chained operation as a program of ours that stays loaded. */
import { loadWeights } from "../../src/kernels/load.ts";
import { lowerGraph } from "../../src/kernels/lower.ts";
import { targetFor } from "../../src/kernels/target.ts";
import type { Device } from "../../src/runtime/device.ts";
import { createValueArray, type GpuArray } from "../../src/runtime/memory.ts";
import type { KernelTiming } from "../../src/runtime/profiler.ts";
import { Program } from "../../src/runtime/program.ts";
import { profileProgram } from "../../src/runtime/timestamps.ts";
import { unitBytes, unitCount, type Value } from "../../src/runtime/values.ts";
import { decodeF32, piecesOf, readValue, writerOf } from "../../test/support/gpuTensors.ts";
import { replay } from "../kernels/timer.ts";
import { asPort, buildKernelGraph, type KernelSpec, kernelInput, kernelParam } from "./kernelGraph.ts";
import type { OpenJob, RunMode } from "./protocol.ts";

/** Reads an array's units as they are stored. */
const download = (device: Device, value: Value, { object }: GpuArray): Promise<ArrayBuffer> =>
  device.read(object, unitCount(value, 1) * unitBytes(value.dtype));

export async function openKernel(device: Device, spec: KernelSpec): Promise<OpenJob> {
  const target = targetFor(device);
  const { graph, input, output } = buildKernelGraph(spec, target.storage);
  const { calls, weights } = lowerGraph(graph, target);
  const params = Object.fromEntries(graph.params().map((param) => [param.name, kernelParam(param)]));
  const arrays = new Map(await loadWeights(device, target, weights, piecesOf(params), decodeF32));
  const x = createValueArray(device, input);
  const y = createValueArray(device, output);
  arrays.set(input, x).set(output, y);
  const program = await Program.create(device, { label: spec.op, calls, batch: 1, external: arrays });
  const upload = writerOf(device, input, kernelInput(spec).data, x);
  upload();
  return {
    modes: ["host", "device"],
    async run(times: number, mode: RunMode) {
      if (mode === "device") return replay(device, program, times);
      const start = performance.now();
      for (let i = 0; i < times; i++) {
        upload();
        const encoder = device.gpu.createCommandEncoder();
        program.encode(encoder);
        device.submit([encoder.finish()]);
        await download(device, output, y);
      }
      return (performance.now() - start) / times;
    },
    async output() {
      await replay(device, program, 1);
      return asPort(spec, await readValue(device, output, y, 1), 0, spec.channels);
    },
    profile: (): Promise<KernelTiming[]> => profileProgram(device, program),
    async dispose() {
      program.dispose();
      for (const { object } of arrays.values()) device.release(object);
    },
  };
}
