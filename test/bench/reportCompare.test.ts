/** Two runs against each other: only what is beyond noise and spread counts as moved. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { compareResults } from "../../bench/report/compare.ts";
import type { Ratio, Result, Results } from "../../bench/results.ts";
import { ddim, scratchFolder } from "../support/cli.ts";
import { around, results, row } from "./resultsFixture.ts";

const scratch = scratchFolder();
const at = (ms: number, relative?: number) => results([row({ id: "a", ms: around(ms, relative) })]);
const verdict = (before: Results, after: Results) => compareResults(before, after).changes.map((c) => c.verdict);

test("moved is what lies beyond the noise of the runs and the spread of both measurements", () => {
  // Noise 3.09 % (1 / 0.97), 1 % of spread on each side: 5.09 % in all.
  expect(compareResults(at(100), at(105)).changes[0]).toMatchObject({ verdict: "within noise", factor: 1.05 });
  expect(compareResults(at(100), at(105)).changes[0]?.tolerance).toBeCloseTo(0.0509, 4);
  expect(verdict(at(100), at(106))).toEqual(["slower"]);
  expect(verdict(at(106), at(100))).toEqual(["faster"]);
  expect(verdict(at(100, 0.05), at(106))).toEqual(["within noise"]);
  expect(verdict(at(100), { ...at(106), noise: [{ id: "a", engine: "ddim-webgpu", ratio: around(1, 0.1) }] })).toEqual([
    "within noise",
  ]);
});

test("device times are compared where both runs have them", () => {
  const timed = (ms: number, device?: number) =>
    results([row({ id: "a", ms: around(ms), deviceMs: device === undefined ? undefined : around(device) })]);
  expect(compareResults(timed(10, 5), timed(20, 5)).changes[0]).toMatchObject({ verdict: "within noise", factor: 1 });
  expect(compareResults(timed(10, 5), timed(20)).changes[0]).toMatchObject({ verdict: "slower", factor: 2 });
});

test("what only one run has, and what has no time, says so", () => {
  const [a, b] = [row({ id: "a" }), row({ id: "b" })];
  const skipped = row({ id: "a", ms: undefined, status: "skipped", note: "too big" });
  expect(verdict(results([a]), results([b]))).toEqual(["only before", "only after"]);
  expect(compareResults(results([a]), results([skipped])).changes).toMatchObject([
    { verdict: "not measured", note: "too big" },
  ]);
  // A point of growth that only repeats what another group has measured is no change of its own; others are.
  const repeated = row({ ...a, id: "growth/batch/1", group: "growth" });
  const own = row({ ...a, id: "growth/batch/2", group: "growth", ms: around(17) });
  const grown = compareResults(results([a, repeated, own]), results([a, repeated, own]));
  expect(grown.changes.map(({ id }) => id)).toEqual(["a", "growth/batch/2"]);
  const peer = row({ id: "a", engine: "onnxruntime-cpu" });
  expect(verdict(results([a]), results([a, peer]))).toEqual(["within noise", "only after"]);
});

test("memory, other machines, and how well ratios repeat", () => {
  const ratio = (median: number): Ratio => ({ ...around(median), to: "onnxruntime-cpu" });
  const one = (ratioOf: number, peakGpuBytes: number, more: Partial<Result> = {}) =>
    results([row({ id: "a", ratio: ratio(ratioOf), peakGpuBytes, ...more })]);
  const moved = compareResults(one(2, 100), one(2.5, 200));
  expect(moved.changes[0]?.memory).toEqual({ before: 100, after: 200 });
  expect(moved.repeatability).toEqual({ ratios: 1, worst: 0.25, worstId: "a" });
  expect(moved.warnings).toEqual([]);
  expect(compareResults(one(2, 100), one(2, 100, { group: "kernel" })).repeatability).toBeUndefined();
  const elsewhere = one(2, 100);
  const { environment } = elsewhere;
  const other = { ...elsewhere, environment: { ...environment, adapter: { ...environment.adapter, name: "B" } } };
  expect(compareResults(elsewhere, other).warnings).toEqual(["other adapters: Test <GPU> before, B after"]);
});

test("ddim bench compare prints the verdicts and exits 0; JSON has the same", async () => {
  const file = (name: string, content: unknown) => {
    const path = join(scratch, name);
    writeFileSync(path, JSON.stringify(content));
    return path;
  };
  const ratio: Ratio = { ...around(2), to: "onnxruntime-cpu" };
  const before = file("before.json", results([row({ id: "a", ms: around(100), ratio })]));
  const after = file("after.json", results([row({ id: "a", ms: around(50), ratio: { ...ratio, median: 4 } })]));
  const { code, stdout } = await ddim(["bench", "compare", before, after]);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^faster +a +ddim-webgpu +100 ±1 % +50.0 ±1 % +0.500× +±5 %$/m);
  expect(stdout).toContain("1 ratio of network evaluations to the peers: at most 100 % apart (a), more than 15 %: ");
  expect(stdout).toContain("load was 0.10 to 2.0 before, 0.10 to 2.0 after on 2 cores");
  expect(stdout).toContain("1 faster; an engine against itself: ±3 %.");
  const same = await ddim(["bench", "compare", before, before]);
  expect(same.stdout).toContain("1 within noise; ");
  expect(same.stdout).toContain("at most 0 % apart (a).");
  const json = JSON.parse((await ddim(["bench", "compare", before, after, "--json"])).stdout);
  expect(json.changes).toMatchObject([{ id: "a", verdict: "faster", factor: 0.5 }]);

  const missing = join(scratch, "nothing.json");
  expect(await ddim(["bench", "compare", before, missing])).toMatchObject({
    code: 1,
    stdout: "",
    stderr: `ddim: ${missing}: cannot be read (ENOENT)\n`,
  });
});
