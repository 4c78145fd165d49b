/**
 * What an adapter can do at best, measured by two plain kernels: moving bytes, and multiplying and adding in registers.
 * A kernel's roofline is the time these limits leave for its operations and its least traffic (Williams, Waterman and
 * Patterson, "Roofline", 2009).
 */
import type { Device } from "../src/runtime/device.ts";
import type { Cost } from "../src/runtime/kernel.ts";
import { createArray } from "../src/runtime/memory.ts";
import type { BindingKind } from "../src/runtime/pipelines.ts";
import type { Limits } from "./results.ts";

const KINDS: readonly BindingKind[] = ["read-only-storage", "storage"];
const COPY_BYTES = 64 * 2 ** 20;
const REPEATS = 10;

/** Independent chains of multiply-adds, written out, so that neither latency nor the loop counts. */
const CHAINS = 12;
const UNROLL = 8;
const LOOPS = 128;

const chains = (text: (i: number) => string) => Array.from({ length: CHAINS }, (_, i) => text(i)).join(" ");

const BINDINGS = `
@group(0) @binding(0) var<storage, read> input: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> output: array<vec4f>;`;

/** The factors come from memory, so that nothing can be computed ahead of time. */
const FMA = `${BINDINGS}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let m = input[id.x];
  let a = input[id.x + 1u];
  ${chains((i) => `var c${i} = m + vec4f(${i}.0);`)}
  for (var i = 0u; i < ${LOOPS}u; i++) {
    ${Array.from({ length: UNROLL }, () => chains((i) => `c${i} = fma(c${i}, m, a);`)).join("\n    ")}
  }
  output[id.x] = ${Array.from({ length: CHAINS }, (_, i) => `c${i}`).join(" + ")};
}`;
const FMA_THREADS = { software: 4096, gpu: 2 ** 19 };
const FMA_FLOPS = 2 * 4 * CHAINS * UNROLL * LOOPS;

const COPY = `${BINDINGS}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.y * groups.x * 64u + id.x;
  output[i] = input[i];
}`;

/** Least milliseconds of one piece of work. */
async function least(device: Device, record: (encoder: GPUCommandEncoder) => void): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i <= REPEATS; i++) {
    const encoder = device.gpu.createCommandEncoder();
    record(encoder);
    const commands = encoder.finish();
    const start = performance.now();
    device.submit([commands]);
    await device.done();
    if (i > 0) best = Math.min(best, performance.now() - start);
  }
  return best;
}

export async function measureLimits(device: Device): Promise<Limits> {
  const bytes = Math.min(COPY_BYTES, device.gpu.limits.maxStorageBufferBindingSize);
  const from = createArray(device, "limits from", "buffer", "f32", bytes);
  const to = createArray(device, "limits to", "buffer", "f32", bytes);
  // Ones: memory that was never written may not exist yet, and numbers in it may be slow.
  device.gpu.queue.writeBuffer(from.object as GPUBuffer, 0, new Float32Array(bytes / 4).fill(1));
  const dispatcher = async (name: string, source: string, grid: readonly [number, number]) => {
    const pipeline = await device.pipelines.get(name, source, KINDS);
    const entries = [from, to].map(({ resource }, binding) => ({ binding, resource }));
    const bindings = device.gpu.createBindGroup({ layout: device.pipelines.layout(KINDS), entries });
    return (encoder: GPUCommandEncoder) => {
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindings);
      pass.dispatchWorkgroups(...grid);
      pass.end();
    };
  };
  try {
    const threads = FMA_THREADS[device.capabilities.software ? "software" : "gpu"];
    const workgroups = bytes / 16 / 64;
    const x = Math.min(workgroups, 32768);
    const copy = await dispatcher("limits_copy", COPY, [x, workgroups / x]);
    const fma = await dispatcher("limits_fma", FMA, [threads / 64, 1]);
    // Where a processor plays the GPU, a load in a kernel costs far more than the memory's part of it.
    const copyMs = Math.min(
      await least(device, copy),
      await least(device, (encoder) =>
        encoder.copyBufferToBuffer(from.object as GPUBuffer, 0, to.object as GPUBuffer, 0, bytes),
      ),
    );
    const fmaMs = await least(device, fma);
    return { copy: (2 * bytes) / (copyMs / 1e3), fma: (threads * FMA_FLOPS) / (fmaMs / 1e3) };
  } finally {
    for (const { object } of [from, to]) device.release(object);
  }
}

/** Share of the roofline that a time reaches, 0 to 1; algorithms that save multiplications may exceed it. */
export function roofline(cost: Cost, ms: number, limits: Limits): number {
  return (1e3 * Math.max(cost.flops / limits.fma, cost.bytes / limits.copy)) / ms;
}
