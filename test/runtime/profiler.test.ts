/** GPU time per dispatch, and what is made of it. */
import { describe, expect, it } from "vitest";
import { addKernel as add } from "../../src/kernels/operations/add.ts";
import type { Device } from "../../src/runtime/device.ts";
import { createValueArray } from "../../src/runtime/memory.ts";
import { chromeTrace, type KernelTiming, summarise } from "../../src/runtime/profiler.ts";
import { Program } from "../../src/runtime/program.ts";
import { passTimes, profileProgram } from "../../src/runtime/timestamps.ts";
import { makeValue } from "../../src/runtime/values.ts";
import { constTarget, testDevice } from "../support/gpu.ts";

/** Profiles so many small additions. */
async function profiled(count: number): Promise<KernelTiming[]> {
  const device = await testDevice();
  const [a, b, y] = ["a", "b", "y"].map((name) =>
    makeValue({ name, shape: [8, 8, 4], batched: true, dtype: "f32", storage: "buffer" }),
  ) as [ReturnType<typeof makeValue>, ReturnType<typeof makeValue>, ReturnType<typeof makeValue>];
  const calls = Array.from({ length: count }, (_, i) =>
    add.lower(constTarget, `layer.${i}`, { a, b, y }, {}, { SCALE: 1 }),
  );
  const external = new Map([a, b, y].map((value) => [value, createValueArray(device, value)]));
  const program = await Program.create(device, { label: "timed", calls, batch: 1, external });
  const { liveBytes, liveObjects, submits } = device.counters;
  const timings = await profileProgram(device, program);
  expect(device.counters).toMatchObject({ liveBytes, liveObjects, submits: submits + 2 });
  program.dispose();
  for (const { object } of external.values()) device.release(object);
  return timings;
}

const timing = (over: Partial<KernelTiming>): KernelTiming => ({
  kernel: "conv2d",
  variant: "gather",
  label: "conv_in",
  start: 0,
  ms: 1,
  flops: 2e6,
  bytes: 1e6,
  ...over,
});

const { capabilities } = await testDevice();

it("counts a pass from the end of those before, whenever its first timestamp was written", () => {
  const ticks = BigUint64Array.from([1000n, 3000n, 1500n, 4500n, 5000n, 6000n, 5100n, 5900n]);
  expect(passTimes(ticks)).toEqual([
    { start: 0, ms: 0.002 },
    { start: 0.002, ms: 0.0015 },
    { start: 0.004, ms: 0.001 },
    { start: 0.005, ms: 0 },
  ]);
  expect(passTimes(new BigUint64Array())).toEqual([]);
});

describe.skipIf(!capabilities.timestamps)("profileProgram", () => {
  it.each([
    ["a few dispatches", 3],
    // One set holds 4096 queries, two per dispatch.
    ["more dispatches than one query set holds", 2049 + 100],
  ])("times %s, in order", async (_, count) => {
    const timings = await profiled(count);
    expect(timings.map((t) => t.label)).toEqual(Array.from({ length: count }, (_, i) => `layer.${i}`));
    expect(timings[0]).toMatchObject({ kernel: "add", variant: "direct", start: 0, flops: 512, bytes: 3072 });
    for (const { ms, start } of timings) {
      expect(ms).toBeGreaterThanOrEqual(0);
      expect(ms).toBeLessThan(1000);
      expect(start).toBeGreaterThanOrEqual(0);
    }
    expect(timings.some((t) => t.ms > 0)).toBe(true);
    const starts = timings.map((t) => t.start);
    expect([...starts].sort((a, b) => a - b)).toEqual(starts);
  });

  it("of an empty program is empty", async () => {
    expect(await profiled(0)).toEqual([]);
  });
});

it("says so where a device has no timestamps", async () => {
  const device = { name: "old GPU", capabilities: { timestamps: false } } as Device;
  await expect(profileProgram(device, { dispatches: [] } as unknown as Program)).rejects.toMatchObject({
    reason: "unsupported",
    message: "old GPU has no timestamp queries, so kernels cannot be timed",
  });
});

describe("chromeTrace", () => {
  const timings = [timing({}), timing({ kernel: "add", label: "sum", start: 1.25, ms: 0.5 }), timing({ ms: 0 })];

  it("is JSON with a complete event per dispatch, in microseconds", () => {
    const { traceEvents, displayTimeUnit } = JSON.parse(chromeTrace(timings));
    expect(displayTimeUnit).toBe("ms");
    expect(traceEvents).toHaveLength(3);
    expect(traceEvents[1]).toEqual({
      name: "add sum",
      cat: "add",
      ph: "X",
      pid: "GPU",
      tid: 0,
      ts: 1250,
      dur: 500,
      args: { variant: "gather", gflops: 4, gbytes: 2 },
    });
  });

  it("holds numbers only, also where the clock saw no time pass", () => {
    const { traceEvents } = JSON.parse(chromeTrace(timings, "Radeon"));
    for (const { ts, dur, pid, args } of traceEvents) {
      for (const value of [ts, dur, args.gflops, args.gbytes]) expect(value).toBeTypeOf("number");
      expect(pid).toBe("Radeon");
    }
  });
});

it("summarise adds up kernels and variants, slowest first", () => {
  const summary = summarise([
    timing({ ms: 1 }),
    timing({ kernel: "add", variant: "direct", ms: 5, flops: 1e6, bytes: 1e7 }),
    timing({ ms: 3 }),
    timing({ variant: "direct", ms: 0 }),
  ]);
  expect(summary).toEqual([
    { kernel: "add/direct", calls: 1, ms: 5, gflops: 0.2, gbytes: 2 },
    { kernel: "conv2d/gather", calls: 2, ms: 4, gflops: 1, gbytes: 0.5 },
    { kernel: "conv2d/direct", calls: 1, ms: 0, gflops: 0, gbytes: 0 },
  ]);
});
