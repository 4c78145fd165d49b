/**
 * GPU time per dispatch by timestamp queries: each dispatch gets a compute pass of its own, which costs a little and is
 * therefore done on request only. Feeds the `-v` table and Chrome's trace format.
 */
import type { Device } from "./device.ts";
import { DeviceError } from "./errors.ts";
import type { Program } from "./program.ts";

export interface KernelTiming {
  readonly kernel: string;
  readonly variant: string;
  readonly label: string;
  /** Milliseconds from the first dispatch's beginning. */
  readonly start: number;
  readonly ms: number;
  readonly flops: number;
  readonly bytes: number;
}

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

/** Work per millisecond in units of 1e9 per second; 0 where the clock was too coarse to see any time pass. */
const rate = (work: number, ms: number): number => (ms > 0 ? work / ms / 1e6 : 0);

/** The timings as Chrome trace events (chrome://tracing, Perfetto), one complete event per dispatch. */
export function chromeTrace(timings: readonly KernelTiming[], process = "GPU"): string {
  const traceEvents = timings.map((t) => ({
    name: `${t.kernel} ${t.label}`,
    cat: t.kernel,
    ph: "X",
    pid: process,
    tid: 0,
    ts: t.start * 1000,
    dur: t.ms * 1000,
    args: { variant: t.variant, gflops: rate(t.flops, t.ms), gbytes: rate(t.bytes, t.ms) },
  }));
  return JSON.stringify({ traceEvents, displayTimeUnit: "ms" });
}

/** Sums of what a kernel's variant took, over its calls. */
export interface KernelTotal {
  /** `conv2d/gather`. */
  readonly kernel: string;
  readonly calls: number;
  readonly ms: number;
  readonly flops: number;
  readonly bytes: number;
}

/** Totals per kernel and variant, slowest first. */
export function totals(timings: readonly KernelTiming[]): KernelTotal[] {
  const groups = new Map<string, KernelTotal>();
  for (const t of timings) {
    const kernel = `${t.kernel}/${t.variant}`;
    const { calls, ms, flops, bytes } = groups.get(kernel) ?? { calls: 0, ms: 0, flops: 0, bytes: 0 };
    groups.set(kernel, { kernel, calls: calls + 1, ms: ms + t.ms, flops: flops + t.flops, bytes: bytes + t.bytes });
  }
  return [...groups.values()].sort((a, b) => b.ms - a.ms);
}

export interface KernelSummary extends Pick<KernelTotal, "kernel" | "calls" | "ms"> {
  /** 1e9 operations per second. */
  readonly gflops: number;
  /** 1e9 bytes per second of least traffic. */
  readonly gbytes: number;
}

/** The same as rates. */
export const summarise = (timings: readonly KernelTiming[]): KernelSummary[] =>
  totals(timings).map(({ kernel, calls, ms, flops, bytes }) => ({
    kernel,
    calls,
    ms,
    gflops: rate(flops, ms),
    gbytes: rate(bytes, ms),
  }));
