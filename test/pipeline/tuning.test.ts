/** Measured methods: looked up by shape, kept in a store, never measured unasked. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fold } from "../../src/kernels/lower.ts";
import { choicesOf, METHODS } from "../../src/kernels/methods.ts";
import { targetFor } from "../../src/kernels/target.ts";
import { quickest } from "../../src/kernels/tuner.ts";
import { folderSource } from "../../src/node/folder.ts";
import { createPipeline } from "../../src/pipeline/load.ts";
import { openModel } from "../../src/pipeline/model.ts";
import {
  formatTuning,
  parseTuning,
  type TuningStore,
  type TuningTable,
  tuningHash,
  tuningScope,
} from "../../src/pipeline/tuningTable.ts";
import type { LoadEvent } from "../../src/pipeline/types.ts";
import { FileError } from "../../src/runtime/errors.ts";
import { lowerNetwork } from "../../src/unet/lowered.ts";
import { testDevice } from "../support/gpu.ts";

const device = await testDevice();
const target = targetFor(device);
const model = await openModel(folderSource("test/golden/models/ddpm_g32"));
const size = model.config.sample_size ?? { height: 8, width: 8 };
const lower = (measured?: Record<string, string>) =>
  lowerNetwork(model.config, { ...target, methods: { measured } }, { size, dtype: "f32", timesteps: "step" });
const choices = choicesOf(fold(lower().network.main), target);
const kernels = (measured: Record<string, string>) => lower(measured).main.calls.map(({ kernel }) => kernel);
const all = (methods: Record<string, string>) =>
  Object.fromEntries(choices.map(({ key }) => [key, methods[key.split(" ")[0] as string] as string]));

class Memory implements Required<TuningStore> {
  table: TuningTable | undefined;
  saves = 0;
  async load() {
    return this.table;
  }
  async save(table: TuningTable) {
    this.table = table;
    this.saves++;
  }
}

async function load(options: { tune?: boolean; tuning?: TuningStore }) {
  const events: LoadEvent[] = [];
  using pipeline = await createPipeline(model, { device, ...options, onProgress: (event) => events.push(event) });
  return { tuning: pipeline.network.tuning, measured: events.filter(({ type }) => type === "tune").length };
}

describe("choices", () => {
  it("are the shapes of the network, each once, with what sizes alone would take", () => {
    expect(choices.length).toBeGreaterThan(2);
    expect(new Set(choices.map(({ key }) => key)).size).toBe(choices.length);
    for (const { key, methods, usual } of choices) {
      expect(methods).toContain(usual);
      expect(METHODS[key.split(" ")[0] as keyof typeof METHODS]).toEqual(expect.arrayContaining([...methods]));
    }
    expect(choicesOf(fold(lower().network.main), { ...target, software: false, lanes: 0 })).toEqual([]);
  });

  it("decide the kernels of every layer", () => {
    expect(kernels(all({ conv2d: "winograd", attention: "products" }))).toEqual(
      expect.arrayContaining(["winogradProduct", "attentionScores"]),
    );
    const other = kernels(all({ conv2d: "gather", attention: "broadcast" }));
    expect(other).not.toContain("winogradProduct");
    expect(other).not.toContain("attentionScores");
  });

  it("give way to a forced method", () => {
    const methods = { conv2d: "gather" as const, measured: all({ conv2d: "winograd", attention: "direct" }) };
    const forced = lowerNetwork(model.config, { ...target, methods }, { size, dtype: "f32", timesteps: "step" });
    expect(forced.main.calls.map(({ kernel }) => kernel)).not.toContain("winogradProduct");
    expect(choicesOf(fold(lower().network.main), { ...target, methods }).map(({ key }) => key)).toEqual(
      choices.filter(({ key }) => key.startsWith("attention")).map(({ key }) => key),
    );
  });
});

describe("tuning", () => {
  it("measures on first use and only when asked; then the table is there", async () => {
    const store = new Memory();
    expect(await load({ tuning: store })).toEqual({ tuning: null, measured: 0 });
    const before = device.counters.liveBytes;
    const first = await load({ tuning: store, tune: true });
    expect(device.counters.liveBytes).toBe(before);
    expect(first.measured).toBe(2 * choices.length);
    expect(store.saves).toBe(1);
    expect(Object.keys(first.tuning?.entries ?? {})).toEqual(choices.map(({ key }) => key));
    const { entries } = first.tuning as TuningTable;
    for (const { key, usual } of choices) {
      const { method, ms } = entries[key] as TuningTable["entries"][string];
      const least = Math.min(...Object.values(ms));
      expect(method === usual || ms[method] === least).toBe(true);
    }
    expect(await load({ tuning: store, tune: true })).toEqual({ tuning: store.table, measured: 0 });
    expect(await load({ tuning: store })).toEqual({ tuning: store.table, measured: 0 });
    expect(store.saves).toBe(1);
  });
});

describe("quickest", () => {
  it.each([
    ["a", { a: [2, 3, 4], b: [1, 2, 3] }, "b"],
    // Quicker in its median, but not at its best: noise.
    ["a", { a: [2, 3, 4], b: [2, 2, 2] }, "a"],
    ["a", { a: [1, 1, 1], b: [0.98, 0.98, 0.98] }, "a"],
    ["b", { a: [1, 1, 1], b: [0.98, 0.98, 0.98] }, "b"],
    // The usual method did not fit, or was hopeless.
    ["c", { a: [2, 2, 2], b: [3, 3, 3] }, "a"],
  ])("of the usual %s and %j is %s", (usual, times, method) => {
    expect(quickest(usual, times as unknown as Record<string, number[]>)).toBe(method);
  });
});

describe("tables", async () => {
  const scope = await tuningScope(device);
  const entry = { method: "gather", ms: { gather: 1, winograd: 2 } };
  const table: TuningTable = { ...scope, entries: { "conv2d a": entry, "attention b": { method: "direct", ms: {} } } };
  const text = formatTuning(table);

  it("survive a file, and are told apart by their choices alone", async () => {
    expect(parseTuning(text, "t.json", scope)).toEqual(table);
    const hash = await tuningHash(table);
    expect(hash).toMatch(/^[0-9a-f]{8}$/);
    const reordered = Object.fromEntries(Object.entries(table.entries).reverse());
    expect(await tuningHash({ ...table, entries: reordered })).toBe(hash);
    const slower = { ...table.entries, "conv2d a": { ...entry, ms: { gather: 7 } } };
    expect(await tuningHash({ ...table, entries: slower })).toBe(hash);
    const other = { ...table.entries, "conv2d a": { ...entry, method: "winograd" } };
    expect(await tuningHash({ ...table, entries: other })).not.toBe(hash);
  });

  it.each([
    [text.slice(0, 40), "it is not JSON"],
    ["[]", "no format"],
    [JSON.stringify({ ...JSON.parse(text), adapter: "another" }), "another adapter or driver: another"],
    [JSON.stringify({ ...JSON.parse(text), kernels: "0" }), "other kernels"],
    [text.replace('"gather",', '"direct",'), 'an entry that makes no sense: "conv2d a"'],
  ])("that are damaged or another's are one error with the file's name (%#)", (damaged, reason) => {
    const read = () => parseTuning(damaged, "dir/t.json", scope);
    expect(read).toThrow(FileError);
    expect(read).toThrow(/^dir\/t\.json: /);
    expect(read).toThrow(reason);
  });

  it.each(["1e999", "0", "-1", "null", '"2"', "[]"])("times of %s make no sense", (time) => {
    const read = () => parseTuning(text.replace('"gather": 1', `"gather": ${time}`), "t.json", scope);
    expect(read).toThrow(/is damaged: it has an entry that makes no sense: "conv2d a"/);
  });

  it("are damaged wherever a bit of what they say was flipped", () => {
    const bytes = new TextEncoder().encode(text);
    fc.assert(
      fc.property(fc.nat(8 * bytes.length - 1), (bit) => {
        const flipped = Uint8Array.from(bytes, (byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
        expect(() => parseTuning(new TextDecoder().decode(flipped), "t.json", scope)).toThrow(FileError);
      }),
      { numRuns: 500 },
    );
  });

  it("made or edited by hand are taken where somebody is told, or have no checksum", () => {
    const { checksum, ...bare } = JSON.parse(text);
    expect(parseTuning(JSON.stringify(bare), "t.json", scope)).toEqual(table);
    const edited = { ...JSON.parse(text), entries: {} };
    expect(() => parseTuning(JSON.stringify(edited), "t.json", scope)).toThrow(/is damaged: the checksum is another/);
    const told: string[] = [];
    expect(parseTuning(JSON.stringify(edited), "t.json", scope, (s) => told.push(s)).entries).toEqual({});
    expect(told.join()).toMatch(/^t\.json: is edited or damaged/);
    expect(() => parseTuning(JSON.stringify({ ...bare, note: 1 }), "t.json", scope)).toThrow(/unknown part "note"/);
  });
});
