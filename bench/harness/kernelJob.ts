/** A chained operation as a program of ours that stays loaded. */
import { loadRecipes } from "../../src/kernels/load.ts";
import { lowerGraph } from "../../src/kernels/lower.ts";
import { targetFor } from "../../src/kernels/target.ts";
import type { Device } from "../../src/runtime/device.ts";
import { createValueArray, type GpuArray } from "../../src/runtime/memory.ts";
import { type KernelTiming, profileProgram } from "../../src/runtime/profiler.ts";
import { Program } from "../../src/runtime/program.ts";
import { TEXTURE_WIDTH, unitBytes, unitCount, type Value } from "../../src/runtime/values.ts";
import { decodeF32, piecesOf, readValue, toStorage } from "../../test/support/gpuTensors.ts";
import { replay } from "../kernels/timer.ts";
import type { OpenJob } from "./job.ts";
import { asPort, buildKernelGraph, type KernelSpec, kernelInput, kernelParam } from "./kernelGraph.ts";
import type { RunMode } from "./protocol.ts";

/** Puts stored units into an array that is there. */
function upload(device: Device, value: Value, array: GpuArray, stored: Uint8Array<ArrayBuffer>): void {
  const { queue } = device.gpu;
  if (value.storage === "buffer") return queue.writeBuffer(array.object as GPUBuffer, 0, stored);
  const texture = array.object as GPUTexture;
  const bytesPerRow = TEXTURE_WIDTH * unitBytes(value.dtype);
  queue.writeTexture({ texture }, stored, { bytesPerRow }, [TEXTURE_WIDTH, texture.height]);
}

/** Reads an array's units as they are stored. */
const download = (device: Device, value: Value, { object }: GpuArray): Promise<ArrayBuffer> =>
  device.read(object, unitCount(value, 1) * unitBytes(value.dtype));

/** The units of a tensor, with the rest of the last row where they are a texture's. */
function storedUnits(value: Value, data: ArrayLike<number>, array: GpuArray): Uint8Array<ArrayBuffer> {
  const units = toStorage(value, data);
  const rows = value.storage === "texture" ? (array.object as GPUTexture).height : 0;
  const bytes = new Uint8Array(Math.max(units.byteLength, rows * TEXTURE_WIDTH * unitBytes(value.dtype)));
  bytes.set(new Uint8Array(units.buffer, units.byteOffset, units.byteLength));
  return bytes;
}

export async function openKernel(device: Device, spec: KernelSpec): Promise<OpenJob> {
  const target = targetFor(device);
  const { graph, input, output } = buildKernelGraph(spec, target.storage);
  const { calls, recipes } = lowerGraph(graph, target);
  const params = Object.fromEntries(graph.params().map((param) => [param.name, kernelParam(param)]));
  const arrays = new Map(await loadRecipes(device, target, recipes, piecesOf(params), decodeF32));
  const x = createValueArray(device, input);
  const y = createValueArray(device, output);
  arrays.set(input, x).set(output, y);
  const program = await Program.create(device, { label: spec.op, calls, batch: 1, external: arrays });
  const stored = storedUnits(input, kernelInput(spec).data, x);
  upload(device, input, x, stored);
  return {
    modes: ["host", "device"],
    async run(times: number, mode: RunMode) {
      if (mode === "device") return replay(device, program, times);
      const start = performance.now();
      for (let i = 0; i < times; i++) {
        upload(device, input, x, stored);
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
