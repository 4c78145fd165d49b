/** What kernels took, by the GPU's clock: for the `-v` table and Chrome's trace format. */
import { checkKind } from "./options.ts";

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

/** Work per millisecond in units of 1e9 per second; 0 where the clock was too coarse to see any time pass. */
const rate = (work: number, ms: number): number => (ms > 0 ? work / ms / 1e6 : 0);

/** The timings as Chrome trace events (chrome://tracing, Perfetto), one complete event per dispatch. */
export function chromeTrace(timings: readonly KernelTiming[], process = "GPU"): string {
  checkKind("chromeTrace", "timings", "a list", timings);
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
  checkKind("summarise", "timings", "a list", timings);
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
