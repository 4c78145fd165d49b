/**
 * Work in pieces that a watchdog lets pass. A dispatch of much work whose workgroups know nothing of each other (a
 * variant says so by `parts`) can be recorded in bands of its grid, each with its first workgroup in a params block of its
 * own. What is computed for an output, and so its bits, is the same however the grid is cut.
 */
import type { Cost, Grid, KernelCall } from "./contract.ts";

export interface Dispatch {
  readonly call: KernelCall;
  readonly pipeline: GPUComputePipeline;
  /** For the whole grid. */
  readonly bindings: GPUBindGroup;
  readonly grid: Grid;
  readonly cost: Cost;
}

/**
 * Consecutive workgroups of a dispatch: all, or a share of one that can be done in parts and is large enough for it.
 * Neighbours that are recorded together become one dispatch again.
 */
export interface Part {
  readonly dispatch: Dispatch;
  /** First workgroup on the axis of `call.parts`, and how many. */
  readonly first: number;
  readonly count: number;
  /** With params that begin at its first workgroup. */
  readonly bindings: GPUBindGroup;
  readonly flops: number;
}

/**
 * Floating point operations below which nothing is gained by parts: some 10 ms of a slow GPU, far below watchdogs, which
 * begin at 2 s.
 */
export const LEAST_PART = 1e9;
/** Most parts of a dispatch. Each has its 256 bytes of params. */
const MOST_PARTS = 256;

/** First workgroup and number of workgroups of each part of a call. */
export function rangesOf({ parts, grid, cost }: KernelCall, batch: number, leastPart: number): [number, number][] {
  const whole = grid(batch)[parts === "x" ? 0 : 1];
  const count = parts ? Math.max(1, Math.min(MOST_PARTS, whole, Math.floor(cost(batch).flops / leastPart))) : 1;
  const bounds = Array.from({ length: count + 1 }, (_, i) => Math.floor((i * whole) / count));
  return bounds.slice(1).map((end, i) => [bounds[i] as number, end - (bounds[i] as number)]);
}

/** Records parts `from`..`to` (exclusive) in one compute pass. */
export function encodeParts(encoder: GPUCommandEncoder, parts: readonly Part[], from: number, to: number): void {
  const pass = encoder.beginComputePass();
  let current: GPUComputePipeline | undefined;
  for (let i = from; i < to; i++) {
    const { dispatch, first, count, bindings } = parts[i] as Part;
    const { pipeline, grid, call } = dispatch;
    let workgroups = count;
    for (; i + 1 < to; i++) {
      const next = parts[i + 1] as Part;
      if (next.dispatch !== dispatch || next.first !== first + workgroups) break;
      workgroups += next.count;
    }
    if (pipeline !== current) pass.setPipeline(pipeline);
    current = pipeline;
    pass.setBindGroup(0, bindings);
    if (call.parts === "x") pass.dispatchWorkgroups(workgroups, grid[1], grid[2]);
    else pass.dispatchWorkgroups(grid[0], workgroups, grid[2]);
  }
  pass.end();
}
