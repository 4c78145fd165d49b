/** Tables of a results file, for a terminal and as Markdown: every number once by hand, and nothing left out in silence. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { digits } from "../../bench/report/format.ts";
import { resultsAsMarkdown } from "../../bench/report/index.ts";
import { reportDocument } from "../../bench/report/sections/index.ts";
import { timeByClass } from "../../bench/report/sections/networks.ts";
import { kernelClass, speedup } from "../../bench/report/select.ts";
import type { KernelShare, Result, Results } from "../../bench/results.ts";
import { ddim, scratchFolder } from "../support/cli.ts";
import { around, results, row } from "./resultsFixture.ts";

const scratch = scratchFolder();
const share = (kernel: string, ms: number): KernelShare => ({
  kernel,
  calls: 2,
  ms,
  flops: 4e6,
  bytes: 1e6,
  roofline: 0.5,
});
const run = results([
  row({
    id: "unet/tiny/f32/b1",
    deviceMs: around(8),
    gpuMs: 4,
    roofline: 0.25,
    nmse: 2e-13,
    verifiedAgainst: "onnxruntime-cpu",
    peakGpuBytes: 2 ** 20,
    kernels: [share("conv2d/fused_broadcast", 3), share("groupNormStats_lanes", 1)],
    ratio: { ...around(2), to: "onnxruntime-cpu" },
  }),
  row({ id: "unet/tiny/f32/b1", engine: "onnxruntime-cpu", ms: around(25, 0.1), nmse: 0, verifiedAgainst: "itself" }),
  row({
    id: "unet/tiny/f32/b1",
    engine: "torch-eager",
    ms: undefined,
    status: "missing",
    note: "python3 has no torch",
  }),
  row({ id: "unet/big/f32/b1", model: "big", ms: undefined, status: "skipped", note: "takes minutes" }),
  row({ id: "unet/half/f32/b1", model: "half", status: "reduced", note: "3 repetitions" }),
]);
const section = (r: Results, id: string) => reportDocument(r).sections.find((s) => s.id === id);

test("numbers have three digits and no exponent", () => {
  expect([0, 912.4, 62.44, 5.196, 0.034512, 12345, 9.999].map((x) => digits(x))).toEqual(
    ["0", "912", "62.4", "5.20", "0.0345", "12345", "10.0"], // biome-ignore format: one line
  );
});

test("an evaluation: medians, spread, the ratio of the pairs and not of the medians", () => {
  const unet = section(run, "unet");
  expect(unet?.tables[0]?.head.slice(0, 5)).toEqual(
    ["network", "type", "batch", "ddim-webgpu, ms", "onnxruntime-cpu, ms"], // biome-ignore format: one line
  );
  expect(unet?.tables[0]?.lines).toEqual([
    ["tiny", "f32", "1", "10.0 ±1 %", "25.0 ±10 % (2.00×)", "4.00", "25 %"],
    ["big", "f32", "1", "skipped [1]", "not run", "", ""],
    ["half", "f32", "1", "10.0 ±1 % [2]", "not run", "", ""],
  ]);
  expect(unet?.notes?.slice(0, 2)).toEqual(["[1] skipped: takes minutes", "[2] reduced: 3 repetitions"]);
  expect(unet?.notes?.[2]).toMatch(/^Not measured here: .*torch-eager \(python3 has no torch\)/);
});

test("the speed against a peer: of pairs with it, of pairs with a common engine, of the medians", () => {
  const ours = row({ id: "a", ratio: { ...around(12), to: "onnxruntime-webgpu" } });
  const cpu = row({
    id: "a",
    engine: "onnxruntime-cpu",
    ms: around(50),
    ratio: { ...around(4), to: "onnxruntime-webgpu" },
  });
  expect(speedup(ours, row({ id: "a", engine: "onnxruntime-webgpu" }))).toBe(12);
  expect(speedup(ours, cpu)).toBe(3);
  expect(speedup(ours, { ...cpu, ratio: undefined })).toBe(5);
  expect(speedup(ours, { ...cpu, ratio: undefined, ms: undefined })).toBeUndefined();
});

test("the summary counts wins, losses and what was left out", () => {
  const lost = results([
    row({ id: "a", ms: around(10) }),
    row({ id: "a", engine: "onnxruntime-cpu", ms: around(40) }),
    row({ id: "b", ms: around(10) }),
    row({ id: "b", engine: "onnxruntime-cpu", ms: around(2.5) }),
  ]);
  expect(section(lost, "summary")?.points).toEqual([
    "Against onnxruntime-cpu, one evaluation of a UNet: 1.00× as fast in the geometric mean (0.250× to 4.00×), faster on 1 of 2.",
    "Noise: an engine against itself differs by 3 %.",
    "torch-eager is missing: python3 has no torch.",
    "4 measurements, all as asked.",
  ]);
  expect(section(run, "summary")?.points?.at(-1)).toBe("4 measurements, of which 1 skipped, 1 reduced.");
});

test("cold starts are summed up apart, and a run that was disturbed says so", () => {
  const pair = (id: string, phase: Result["phase"], ms: number): Result[] => [
    row({ id, group: "sampler", phase, ms: around(10) }),
    row({ id, group: "sampler", phase, ms: around(ms), engine: "onnxruntime-cpu" }),
  ];
  const noisy = results([...pair("a", "warm", 20), ...pair("b", "cold", 5)], {
    noise: [{ id: "unet/tiny", engine: "ddim-webgpu", ratio: around(1, 0.2) }],
  });
  expect(section(noisy, "summary")?.points?.slice(0, 3)).toEqual([
    "Against onnxruntime-cpu, the whole sampler, warm: 2.00× as fast in the geometric mean, faster on 1 of 1.",
    "Against onnxruntime-cpu, cold starts: 0.500× as fast in the geometric mean, faster on 0 of 1.",
    "Noise: an engine against itself differs by 25 %. This run was disturbed: the load was 0.10 when it began and 2.0 " +
      "when it ended, on 2 cores. Ratios that near to 1 mean nothing.",
  ]);
});

test("every measurement that was not run as asked is listed with its reason", () => {
  const gone = { engine: "torch-eager", ms: undefined, status: "missing", note: "no torch" } as const;
  const both = results(["a", "b"].flatMap((id) => [row({ id }), row({ id, ...gone })]));
  expect(section(both, "remarks")?.tables[0]?.lines).toEqual([["torch-eager", "missing", "no torch", "all"]]);
  expect(section(run, "remarks")?.tables[0]?.lines).toEqual([
    ["torch-eager", "missing", "python3 has no torch", "unet/tiny/f32/b1"],
    ["ddim-webgpu", "skipped", "takes minutes", "unet/big/f32/b1"],
    ["ddim-webgpu", "reduced", "3 repetitions", "unet/half/f32/b1"],
  ]);
});

test("settings of every engine, the checks of their outputs, the noise", () => {
  const engines = section(run, "engines");
  expect(engines?.tables[0]?.lines).toEqual([
    ["ddim-webgpu", "0.1.0", "toggles release"],
    ["onnxruntime-cpu", "1.30.0", "threads 2, no memory arena"],
    ["torch-eager", "", "missing: python3 has no torch"],
  ]);
  expect(engines?.tables[1]?.lines[0]).toEqual(["ddim-webgpu", "f32", "onnxruntime-cpu", "1", "2.0e-13"]);
  expect(engines?.points).toEqual([
    "Noise: ddim-webgpu against itself on unet/tiny gives a ratio of 1.000 (quartiles 0.9700 to 1.030, 9 pairs).",
  ]);
});

test("GPU time by kind of kernel", () => {
  expect(timeByClass(run)).toMatchObject([{ total: 4, ms: { convolution: 3, normalisation: 1, attention: 0 } }]);
  const kinds = ["conv2d/fused_broadcast", "gather_tiled", "groupNormAffine", "attention/rows", "rows/tiled", "add"];
  expect(kinds.map(kernelClass)).toEqual(
    ["convolution", "convolution", "normalisation", "attention", "linear", "other"], // biome-ignore format: one line
  );
});

test("kernels: rates by the time without upload and read-back", () => {
  const kernel = row({ id: "k", group: "kernel", name: "conv", opClass: "conv2d", flops: 4e9, bytes: 1e9 });
  const rates = (more: Partial<Result>) =>
    section(results([{ ...kernel, ...more }]), "kernels")?.tables[0]?.lines[0]?.slice(-3, -1);
  expect(rates({ ms: around(200), deviceMs: around(100), gpuMs: 80 })).toEqual(["40.0", "10.0"]);
  expect(rates({ ms: around(200) })).toEqual(["20.0", "5.00"]);
});

test("times without upload and read-back have a table of their own, with the engines that have them", () => {
  const unet = section(
    results([
      row({ id: "a", ms: around(10), deviceMs: around(8), status: "reduced", note: "once" }),
      row({ id: "a", engine: "onnxruntime-webgpu", ms: around(30), deviceMs: around(16) }),
      row({ id: "a", engine: "onnxruntime-cpu" }),
      row({ id: "b" }),
    ]),
    "unet",
  );
  expect(unet?.tables[1]).toEqual({
    caption: "On the device, without upload and read-back",
    head: ["network", "type", "batch", "ddim-webgpu, ms", "onnxruntime-webgpu, ms"],
    lines: [["tiny", "f32", "1", "8.00 ±1 %", "16.0 ±1 % (2.00×)"]],
  });
});

test("sections without anything measured are left out", () => {
  expect(reportDocument(results([])).sections.map(({ id }) => id)).toEqual(["summary", "engines", "machine"]);
});

test("Markdown: says what made it, escapes what is not its own, sets numbers right", () => {
  const page = resultsAsMarkdown(run, { file: "bench/results/x.json", command: "make it", picture: "p.png" });
  expect(page.split("\n")[0]).toBe(
    "<!-- Generated from bench/results/x.json by `make it`. Changes by hand are lost. -->",
  );
  expect(page).toContain("# Performance on Test \\<GPU\\>\n");
  expect(page).toContain("](p.png)");
  expect(page).toContain("| --- | --- | --: | --: | --: | --: | --: | --: |");
  expect(page).not.toMatch(/undefined|NaN|\[object/);
});

test("ddim bench report: Markdown, raw data, files, and refusals that name the file", async () => {
  const file = join(scratch, "run.json");
  writeFileSync(file, JSON.stringify(run));
  const source = { file: "run.json", command: "npx ddim bench report run.json" };
  expect(await ddim(["bench", "report", file])).toMatchObject({ code: 0, stdout: resultsAsMarkdown(run, source) });
  expect(JSON.parse((await ddim(["bench", "report", file, "--json"])).stdout)).toEqual(JSON.parse(JSON.stringify(run)));
  const page = join(scratch, "page.md");
  expect(await ddim(["bench", "report", file, "--markdown", page])).toMatchObject({ code: 0, stdout: "" });

  const old = join(scratch, "old.json");
  writeFileSync(old, JSON.stringify({ ...run, schema: 0 }));
  expect(await ddim(["bench", "report", old])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining(`${old}: has schema 0`),
  });
  const other = join(scratch, "other.json");
  writeFileSync(other, "[1, 2]");
  expect(await ddim(["bench", "report", other])).toMatchObject({ code: 1, stderr: expect.stringContaining(other) });
  const nowhere = join(scratch, "missing", "page.html");
  const refused = await ddim(["bench", "report", file, "--html", nowhere]);
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining(nowhere) });
});
