/**
 * GPU time per dispatch by timestamp queries: each dispatch gets a compute pass of its own, which costs a little and is
 * therefore done on request only.
 */
import type { Device } from "./device.ts";
import { DeviceError } from "./errors.ts";
import type { KernelTiming } from "./profiler.ts";
import type { Program } from "./program.ts";

/** Most queries in one set, as WebGPU fixes it. */
const MAX_QUERIES = 4096;

/**
 * Milliseconds of passes, from the first one's beginning. A pass may write its first timestamp while the one before still
 * runs, as it waits for that one only then: its time counts from the end of the others.
 * @param ticks begin and end of each pass, in nanoseconds
 */
export function passTimes(ticks: BigUint64Array): { start: number; ms: number }[] {
  const [origin = 0n] = ticks;
  let done = origin;
  return Array.from({ length: ticks.length / 2 }, (_, i) => {
    const [begin, end] = ticks.subarray(2 * i, 2 * i + 2) as unknown as [bigint, bigint];
    const start = begin > done ? begin : done;
    done = end > done ? end : done;
    return { start: Number(start - origin) / 1e6, ms: Number(done - start) / 1e6 };
  });
}

/**
 * Runs a program once, timed.
 * @throws DeviceError "unsupported" when the device has no timestamps
 */
export async function profileProgram(device: Device, program: Program): Promise<KernelTiming[]> {
  if (!device.capabilities.timestamps)
    throw new DeviceError("unsupported", `${device.name} has no timestamp queries, so kernels cannot be timed`);
  const { dispatches } = program;
  const count = dispatches.length;
  const perSet = MAX_QUERIES / 2;
  const resolved = device.createBuffer({
    label: "timestamps",
    size: Math.max(1, count) * 16,
    usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
  });
  const sets: GPUQuerySet[] = [];
  try {
    const encoder = device.gpu.createCommandEncoder();
    for (let base = 0; base < count; base += perSet) {
      const n = Math.min(perSet, count - base);
      const querySet = device.gpu.createQuerySet({ type: "timestamp", count: n * 2 });
      sets.push(querySet);
      for (let i = 0; i < n; i++) {
        const { pipeline, bindings, grid } = dispatches[base + i] as (typeof dispatches)[number];
        const pass = encoder.beginComputePass({
          timestampWrites: { querySet, beginningOfPassWriteIndex: i * 2, endOfPassWriteIndex: i * 2 + 1 },
        });
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, bindings);
        pass.dispatchWorkgroups(...grid);
        pass.end();
      }
      encoder.resolveQuerySet(querySet, 0, n * 2, resolved, base * 16);
    }
    device.submit([encoder.finish()]);
    const times = passTimes(new BigUint64Array(await device.read(resolved, count * 16)));
    return dispatches.map(({ call: { kernel, variant, label }, cost }, i) => {
      return { kernel, variant, label, ...(times[i] as (typeof times)[number]), ...cost };
    });
  } finally {
    for (const set of sets) set.destroy();
    device.release(resolved);
  }
}
