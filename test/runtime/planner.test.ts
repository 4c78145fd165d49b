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

/** Where a value lies, and how far it reaches. */
function spanOf(plan: MemoryPlan, v: Value, batch: number): { arena: number; from: number; to: number } {
  const place = plan.places.get(v);
  if (!place) throw new Error(`no place for ${v.name}`);
  return { arena: place.arena, from: place.offset, to: place.offset + byteSize(v, batch) };
}

const kindOf = (v: Value) => (v.storage === "buffer" ? "buffer" : v.dtype);

/** Bytes of one kind's values that a call touches or that later calls still read, at the worst call. */
function mostAlive(calls: readonly KernelCall[], input: Value, batch: number, kind: string): number {
  const touched = calls.map((c) => new Set(c.bound.map((b) => b.value)));
  const later = (v: Value, at: number) => touched.some((t, i) => i >= at && t.has(v));
  const before = (v: Value, at: number) => touched.some((t, i) => i <= at && t.has(v));
  const all = [...new Set(touched.flatMap((t) => [...t]))].filter((v) => v !== input && kindOf(v) === kind);
  const alive = calls.map((_, at) => all.filter((v) => before(v, at) && later(v, at)));
  return Math.max(
    ...alive.map((values) => values.reduce((sum, v) => sum + Math.ceil(byteSize(v, batch) / 256) * 256, 0)),
  );
}

describe("planMemory", () => {
  it("replays any program without overwriting what is still needed", () => {
    fc.assert(
      fc.property(programs, fc.integer({ min: 1, max: 5 }), ({ input, calls, made }, batch) => {
        const plan = planMemory(calls, new Set([input]), batch);
        expect(new Set(plan.places.keys())).toEqual(new Set(made));
        // What every arena holds: values whose bytes nobody has written over since.
        const holds = plan.arenas.map(() => new Set<Value>());
        const span = (v: Value) => spanOf(plan, v, batch);
        for (const { bound } of calls) {
          for (const { value: v, access } of bound)
            if (access === "in" && v !== input) expect(holds[span(v).arena]?.has(v)).toBe(true);
          const own = bound.filter((b) => b.value !== input);
          // WebGPU forbids one object as input and output of a dispatch, and two outputs must not share either.
          for (const { value: v } of own.filter((b) => b.access === "out"))
            for (const { value: other } of own) if (other !== v) expect(span(other).arena).not.toBe(span(v).arena);
          for (const { value: v } of own.filter((b) => b.access === "out")) {
            const { arena, from, to } = span(v);
            const held = holds[arena] as Set<Value>;
            for (const other of held) if (span(other).from < to && from < span(other).to) held.delete(other);
            held.add(v);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it("gives values arenas of their own kind that reach far enough, and counts them", () => {
    fc.assert(
      fc.property(programs, fc.integer({ min: 1, max: 5 }), ({ input, calls }, batch) => {
        const plan = planMemory(calls, new Set([input]), batch);
        for (const v of plan.places.keys()) {
          const { arena, from, to } = spanOf(plan, v, batch);
          const { storage, dtype, bytes } = plan.arenas[arena] as MemoryPlan["arenas"][number];
          expect(v.storage).toBe(storage);
          if (storage === "texture") expect(v.dtype).toBe(dtype);
          expect(to).toBeLessThanOrEqual(bytes);
          // Bindings of buffers begin at multiples of 256.
          expect(from % 256).toBe(0);
        }
        expect(plan.bytes).toBe(plan.arenas.reduce((sum, arena) => sum + arena.bytes, 0));
        const kinds = ["buffer", "f32", "f16"].map((kind) => mostAlive(calls, input, batch, kind));
        expect(plan.lowerBound).toBe(kinds.reduce((a, b) => a + b));
        expect(plan.bytes).toBeGreaterThanOrEqual(plan.lowerBound);
      }),
      { numRuns: 300 },
    );
  });

  it("needs two arenas for a chain, whatever its length", () => {
    const chain = Array.from({ length: 10 }, () => value([8, 8, 4]));
    const calls = chain.slice(1).map((v, i) => call([chain[i] as Value, "in"], [v, "out"]));
    const plan = planMemory(calls, new Set([chain[0] as Value]), 1);
    expect(plan.arenas).toHaveLength(2);
    expect(plan.bytes).toBe(plan.lowerBound);
  });

  it("lays values that are alive together side by side", () => {
    const [x, a, b, y] = Array.from({ length: 4 }, () => value([8, 8, 4])) as [Value, Value, Value, Value];
    const calls = [call([x, "in"], [a, "out"]), call([x, "in"], [b, "out"]), call([a, "in"], [b, "in"], [y, "out"])];
    const plan = planMemory(calls, new Set([x, y]), 1);
    expect(plan.bytes).toBe(2 * 1024);
    expect(spanOf(plan, a, 1)).not.toEqual(spanOf(plan, b, 1));
  });

  it("splits one large value between two small ones", () => {
    const [x, large, small, other, y] = [value([1, 4]), value([64, 8]), value([64, 4]), value([64, 4]), value([64, 4])];
    const calls = [
      call([x, "in"], [large, "out"]),
      call([large, "in"], [y, "out"]),
      call([x, "in"], [small, "out"]),
      call([x, "in"], [other, "out"]),
      call([small, "in"], [other, "in"], [y, "inout"]),
    ];
    const plan = planMemory(calls, new Set([x, y]), 1);
    expect(plan.bytes).toBe(2048);
    expect(plan.lowerBound).toBe(2048);
  });

  it("makes no arena larger than every adapter allows", () => {
    const values = Array.from({ length: 4 }, () => value([2 ** 20, 36]));
    const last = value([1, 4]);
    const calls = [
      ...values.map((v) => call([v, "out"])),
      call(...values.map((v) => [v, "in"] as const), [last, "out"]),
    ];
    const plan = planMemory(calls, new Set([last]), 1);
    for (const { bytes } of plan.arenas) expect(bytes).toBeLessThanOrEqual(2 ** 28);
    expect(plan.bytes).toBe(4 * 2 ** 20 * 36 * 4);
  });

  it("plans alike every time", () => {
    fc.assert(
      fc.property(programs, ({ input, calls }) => {
        const [one, two] = [1, 2].map(() => planMemory(calls, new Set([input]), 2)) as [MemoryPlan, MemoryPlan];
        expect([...one.places]).toEqual([...two.places]);
      }),
      { numRuns: 50 },
    );
  });

  it("keeps a skip connection for its reader", () => {
    const [x, skip, a, b, y] = Array.from({ length: 5 }, () => value([8, 8, 4])) as [Value, Value, Value, Value, Value];
    const calls = [
      call([x, "in"], [skip, "out"]),
      call([skip, "in"], [a, "out"]),
      call([a, "in"], [b, "out"]),
      call([b, "in"], [skip, "in"], [y, "out"]),
    ];
    const plan = planMemory(calls, new Set([x, y]), 1);
    expect(plan.places.get(skip)).not.toEqual(plan.places.get(b));
    expect(plan.places.size).toBe(3);
  });

  it("never shares one object between textures and buffers, or textures of two formats", () => {
    const kinds = [{}, { storage: "texture" }, { storage: "texture", dtype: "f16" }] as const;
    const calls = kinds.map((kind) => call([value([64, 64, 4], kind), "out"]));
    expect(planMemory(calls, new Set(), 1).arenas).toHaveLength(3);
    const buffers = [{}, { dtype: "f16" }] as const;
    expect(
      planMemory(
        buffers.map((kind) => call([value([64, 64, 4], kind), "out"])),
        new Set(),
        1,
      ).arenas,
    ).toHaveLength(1);
  });

  it.each(["in", "inout", "atomic"] as const)("refuses to read (%s) what nobody wrote", (access) => {
    const [x, y] = [makeValue({ ...value([2, 2, 4]), name: "skip" }), value([2, 2, 4])];
    const calls = [call([x, access], [y, "out"])];
    expect(() => planMemory(calls, new Set([y]), 1)).toThrow('internal: k(layer) reads t0 "skip" before it is written');
    expect(planMemory(calls, new Set([x, y]), 1).arenas).toEqual([]);
    // Written by a later call only is not written either.
    expect(() => planMemory([...calls, call([x, "out"])], new Set([y]), 1)).toThrow("before it is written");
    expect(() => planMemory([call([x, "out"]), ...calls], new Set([y]), 1)).not.toThrow();
  });
});
