/** How engines are driven: the protocol, turns, and what becomes of engines that are wrong, broken or silent. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { PassThrough } from "node:stream";
import { fileURLToPath } from "node:url";
import { afterEach, expect, test } from "vitest";
import { kernelItems } from "../../bench/harness/kernelWorkloads.ts";
import { Materials } from "../../bench/harness/materials.ts";
import { measureItem } from "../../bench/harness/measure.ts";
import { EngineProcess, serve } from "../../bench/harness/protocol.ts";
import type { Item } from "../../bench/harness/workloads.ts";
import type { EngineName } from "../../bench/results.ts";
import { scratchFolder } from "../support/cli.ts";

const scratch = scratchFolder();
const log = join(scratch, "log");
const materials = new Materials(join(scratch, "materials"), false);
const started: EngineProcess[] = [];
afterEach(() => {
  for (const child of started.splice(0)) child.kill();
});

function fake(engine: EngineName, name: string, result: readonly number[]): EngineProcess {
  const script = fileURLToPath(new URL("fakeEngine.mjs", import.meta.url));
  const child = new EngineProcess(engine, {
    file: process.execPath,
    args: [script, name, log, ...result.map(String)],
  });
  started.push(child);
  return child;
}

const item = kernelItems("quick", true).find(({ workload }) => workload.id.includes("linear/16x16")) as Item;

const measure = (processes: readonly EngineProcess[], of: Item = item) =>
  measureItem(of, processes, {
    materials,
    limits: { copy: 1e9, fma: 1e9 },
    seconds: 0,
    signal: new AbortController().signal,
    references: new Map(),
  });

test("engines run in turns, and ratios are ours over theirs", async () => {
  const rows = await measure([fake("ddim-webgpu", "A", [1, 2]), fake("onnxruntime-cpu", "B", [1, 2])]);
  expect(readFileSync(log, "utf8")).toBe("ABABAB");
  expect(rows.map(({ engine, status, nmse, verifiedAgainst }) => [engine, status, nmse, verifiedAgainst])).toEqual([
    ["ddim-webgpu", "ok", 0, "onnxruntime-cpu"],
    ["onnxruntime-cpu", "ok", 0, "onnxruntime-cpu"],
  ]);
  const chain = item.source.kind === "kernel" ? item.source.spec.chain : Number.NaN;
  expect(rows[0]?.ms?.median).toBeCloseTo(10 / chain, 12);
  expect(rows.map(({ ratio }) => [ratio?.median, ratio?.to])).toEqual([
    [1, "ddim-webgpu"],
    [0.5, "ddim-webgpu"],
  ]);
});

test("an engine whose numbers differ is not timed, and its row says by how much", async () => {
  const rows = await measure([fake("ddim-webgpu", "A", [1, 2.1]), fake("onnxruntime-cpu", "B", [1, 2])]);
  const wrong = rows.find(({ engine }) => engine === "ddim-webgpu");
  expect(wrong).toMatchObject({ status: "failed", note: "its result differs from onnxruntime-cpu: NMSE 2.0e-3" });
  expect(wrong?.ms).toBeUndefined();
  expect(rows.find(({ engine }) => engine === "onnxruntime-cpu")?.ratio).toBeUndefined();
});

test("an engine that refuses or dies has a row that says why; the others are measured", async () => {
  const half = { ...item, workload: { ...item.workload, dtype: "f16" as const } };
  expect((await measure([fake("onnxruntime-cpu", "B", [1])], half))[0]).toMatchObject({
    status: "failed",
    note: "no halves here",
  });
  const dead = fake("onnxruntime-webgpu", "B", []);
  dead.kill();
  const rows = await measure([dead, fake("onnxruntime-cpu", "B", [1])]);
  expect(rows.map(({ engine, status }) => [engine, status])).toEqual([
    ["onnxruntime-webgpu", "failed"],
    ["onnxruntime-cpu", "ok"],
  ]);
});

test("an engine that ends, or does not answer, ends the wait", async () => {
  const engine = fake("onnxruntime-cpu", "B", []);
  await expect(engine.call("limits", {})).rejects.toThrow("onnxruntime-cpu ended (exit code 3)");
  await expect(engine.call("hello", {})).rejects.toThrow("exit code 3");
  const silent = fake("onnxruntime-cpu", "B", []);
  await expect(silent.call("stall" as "hello", {}, 300)).rejects.toThrow("no answer to stall");
  const nowhere = new EngineProcess("torch-eager", { file: join(scratch, "nothing"), args: [] });
  await expect(nowhere.call("hello", {})).rejects.toThrow("ENOENT");
});

test("the other end answers in order, and refusals are answers", async () => {
  const input = new PassThrough();
  const lines: string[] = [];
  const serving = serve({ stats: async () => ({ peakHostBytes: 5 }) }, input, (line) => lines.push(line));
  input.end('{"id":1,"command":"stats"}\n{"id":2,"command":"nonsense"}\n');
  await serving;
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    { id: 1, result: { peakHostBytes: 5 } },
    { id: 2, error: "knows no command nonsense" },
  ]);
});

test("what is too much for a software adapter says so, on a GPU everything runs", () => {
  const skipped = (extent: "quick" | "normal" | "full", software: boolean) =>
    kernelItems(extent, software).filter(({ skip }) => skip !== undefined);
  expect(skipped("quick", true).length).toBeGreaterThan(skipped("normal", true).length);
  expect(skipped("normal", true).map(({ skip }) => skip)).toContain(
    "takes minutes on a software adapter: --full runs it",
  );
  expect([skipped("full", true), skipped("quick", false)]).toEqual([[], []]);
  const ids = kernelItems("full", true).map(({ workload }) => workload.id);
  expect(new Set(ids).size).toBe(ids.length);
});
