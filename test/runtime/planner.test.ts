/** The memory planner, by replaying programs on a model of memory: nothing is overwritten before its last use. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { BoundValue, KernelCall } from "../../src/runtime/kernel.ts";
import { type MemoryPlan, planMemory } from "../../src/runtime/planner.ts";
import { byteSize, makeValue, type Value } from "../../src/runtime/values.ts";

const value = (shape: readonly number[], init: Partial<Value> = {}): Value =>
  makeValue({ name: "v", shape, batched: true, dtype: "f32", storage: "buffer", ...init });

const call = (...bound: (readonly [Value, BoundValue["access"]])[]): KernelCall => ({
  kernel: "k",
  variant: "direct",
  label: "layer",
  source: "",
  kinds: [],
  bound: bound.map(([v, access], i) => ({ tensor: `t${i}`, value: v, access })),
  frame: false,
  params: () => new Uint32Array(4),
  grid: () => [1, 1, 1],
  cost: () => ({ flops: 0, bytes: 0 }),
});

/** Calls that each read some earlier values, or the input, and write one or two new ones. */
const programs = fc
  .array(
    fc.record({
      reads: fc.array(fc.nat(), { maxLength: 3 }),
      writes: fc.array(
        fc.record({
          pixels: fc.integer({ min: 1, max: 9000 }),
          channels: fc.integer({ min: 1, max: 9 }),
          texture: fc.boolean(),
          half: fc.boolean(),
        }),
        { minLength: 1, maxLength: 2 },
      ),
    }),
    { minLength: 1, maxLength: 25 },
  )
  .map((steps) => {
    const input = value([4, 4, 3]);
    const known = [input];
    const calls = steps.map(({ reads, writes }) => {
      const from = reads.map((r) => known[r % known.length] as Value);
      const to = writes.map(({ pixels, channels, texture, half }) =>
        value([pixels, channels], { storage: texture ? "texture" : "buffer", dtype: half ? "f16" : "f32" }),
      );
      known.push(...to);
      return call(...[...new Set(from)].map((v) => [v, "in"] as const), ...to.map((v) => [v, "out"] as const));
    });
    return { input, calls, made: known.slice(1) };
  });

/** Slot of every planned value; throws if a value is planned twice. */
function slotsOf(plan: MemoryPlan): Map<Value, number> {
  const found = new Map<Value, number>();
  plan.slots.forEach(({ values }, slot) => {
    for (const v of values) {
      expect(found.has(v)).toBe(false);
      found.set(v, slot);
    }
  });
  return found;
}

/** Bytes of the values that a call touches or that later calls still read, at the worst call. */
function mostAlive(calls: readonly KernelCall[], input: Value, batch: number): number {
  const touched = calls.map((c) => new Set(c.bound.map((b) => b.value)));
  const later = (v: Value, at: number) => touched.some((t, i) => i >= at && t.has(v));
  const before = (v: Value, at: number) => touched.some((t, i) => i <= at && t.has(v));
  const all = [...new Set(touched.flatMap((t) => [...t]))].filter((v) => v !== input);
  const alive = calls.map((_, at) => all.filter((v) => before(v, at) && later(v, at)));
  return Math.max(...alive.map((values) => values.reduce((sum, v) => sum + byteSize(v, batch), 0)));
}

describe("planMemory", () => {
  it("replays any program without overwriting what is still needed", () => {
    fc.assert(
      fc.property(programs, fc.integer({ min: 1, max: 5 }), ({ input, calls, made }, batch) => {
        const plan = planMemory(calls, new Set([input]), batch);
        const slot = slotsOf(plan);
        expect(new Set(slot.keys())).toEqual(new Set(made));
        const holds = new Map<number, Value>();
        for (const { bound } of calls) {
          for (const { value: v, access } of bound)
            if (access === "in" && v !== input) expect(holds.get(slot.get(v)!)).toBe(v);
          const places = bound.filter((b) => b.value !== input).map((b) => slot.get(b.value));
          // WebGPU forbids one object as input and output of a dispatch, and two outputs must not share either.
          expect(new Set(places).size).toBe(places.length);
          for (const { value: v, access } of bound) if (access === "out") holds.set(slot.get(v)!, v);
        }
      }),
      { numRuns: 300 },
    );
  });

  it("gives values slots of their own kind and large enough, and counts them", () => {
    fc.assert(
      fc.property(programs, fc.integer({ min: 1, max: 5 }), ({ input, calls }, batch) => {
        const plan = planMemory(calls, new Set([input]), batch);
        for (const { storage, dtype, bytes, values } of plan.slots)
          for (const v of values) {
            expect(v.storage).toBe(storage);
            if (storage === "texture") expect(v.dtype).toBe(dtype);
            expect(byteSize(v, batch)).toBeLessThanOrEqual(bytes);
          }
        expect(plan.bytes).toBe(plan.slots.reduce((sum, s) => sum + s.bytes, 0));
        expect(plan.lowerBound).toBe(mostAlive(calls, input, batch));
        expect(plan.bytes).toBeGreaterThanOrEqual(plan.lowerBound);
      }),
      { numRuns: 300 },
    );
  });

  it("needs two slots for a chain, whatever its length", () => {
    const chain = Array.from({ length: 10 }, () => value([8, 8, 4]));
    const calls = chain.slice(1).map((v, i) => call([chain[i] as Value, "in"], [v, "out"]));
    const plan = planMemory(calls, new Set([chain[0] as Value]), 1);
    expect(plan.slots).toHaveLength(2);
    expect(plan.bytes).toBe(plan.lowerBound);
  });

  it("keeps a skip connection for its reader", () => {
    const [x, skip, a, b, y] = Array.from({ length: 5 }, () => value([8, 8, 4])) as [Value, Value, Value, Value, Value];
    const calls = [
      call([x, "in"], [skip, "out"]),
      call([skip, "in"], [a, "out"]),
      call([a, "in"], [b, "out"]),
      call([b, "in"], [skip, "in"], [y, "out"]),
    ];
    const slot = slotsOf(planMemory(calls, new Set([x, y]), 1));
    expect(slot.get(skip)).not.toBe(slot.get(b));
    expect(slot.size).toBe(3);
  });

  it("never shares one object between textures and buffers, or textures of two formats", () => {
    const kinds = [{}, { storage: "texture" }, { storage: "texture", dtype: "f16" }] as const;
    const calls = kinds.map((kind) => call([value([64, 64, 4], kind), "out"]));
    expect(planMemory(calls, new Set(), 1).slots).toHaveLength(3);
    const buffers = [{}, { dtype: "f16" }] as const;
    expect(
      planMemory(
        buffers.map((kind) => call([value([64, 64, 4], kind), "out"])),
        new Set(),
        1,
      ).slots,
    ).toHaveLength(1);
  });

  it.each(["in", "inout", "atomic"] as const)("refuses to read (%s) what nobody wrote", (access) => {
    const [x, y] = [makeValue({ ...value([2, 2, 4]), name: "skip" }), value([2, 2, 4])];
    const calls = [call([x, access], [y, "out"])];
    expect(() => planMemory(calls, new Set([y]), 1)).toThrow('internal: k(layer) reads t0 "skip" before it is written');
    expect(planMemory(calls, new Set([x, y]), 1).slots).toEqual([]);
    // Written by a later call only is not written either.
    expect(() => planMemory([...calls, call([x, "out"])], new Set([y]), 1)).toThrow("before it is written");
    expect(() => planMemory([call([x, "out"]), ...calls], new Set([y]), 1)).not.toThrow();
  });
});
