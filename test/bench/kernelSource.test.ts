/** `ddim bench kernels --wgsl`: what a case compiles, for people, without a GPU. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { formatWgsl } from "../../bench/kernels/format.ts";
import { runLab } from "../../bench/kernels/lab.ts";
import { adapterOf, adapters, printed, sourcesOf } from "../../bench/kernels/source.ts";
import { parseTarget } from "../../bench/kernels/targets.ts";
import { lowerOps } from "../../src/kernels/lower.ts";
import { targetFor } from "../../src/kernels/target.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { ddim } from "../support/cli.ts";
import { testDevice } from "../support/gpu.ts";
import { type CaseTable, caseTables, type StoredDType } from "../support/problems.ts";

const print = (...args: string[]) => ddim(["bench", "kernels", "--wgsl", ...args]);
const words = (text: string) => text.split(/\s+/).filter(Boolean);
const targetOf = (name: string, matrices = false) => targetFor({ capabilities: adapterOf(name, matrices) });

/** Lines that are not indented by their blocks or too long, and empty ones where none belong. */
function faultsOf(wgsl: string): string[] {
  const faults: string[] = [];
  let depth = 0;
  let empty = true;
  for (const line of wgsl.split("\n")) {
    const text = line.trim();
    const closes = text.startsWith("}") ? 1 : 0;
    const further = line.length - line.trimStart().length - 2 * (depth - closes);
    const sane = text === "" ? depth === 0 && !empty : further === 0 || further === 4;
    if (!sane || (line.length > 120 && !line.includes("//"))) faults.push(line);
    depth += line.split("{").length - line.split("}").length;
    empty = text === "";
  }
  return depth === 0 ? faults : [...faults, `${depth} blocks stay open`];
}

/** What a few forms of every case dispatch. */
function* everyCase(): Generator<{
  name: string;
  table: CaseTable;
  shape: object;
  target: Target;
  dtype: StoredDType;
}> {
  const targets = { gpu: targetOf("gpu"), software: targetOf("software"), matrices: targetOf("gpu", true) };
  for (const [op, table] of Object.entries(caseTables))
    for (const [i, shape] of table.cases.entries())
      for (const [name, target] of Object.entries(targets))
        for (const dtype of name === "matrices" ? (["f16"] as const) : (["f32", "f16"] as const))
          yield { name: `${op} ${i} ${name} ${dtype}`, table, shape, target, dtype };
}

test("every case prints for every target: the compiled words, in order, laid out", () => {
  const kernels = new Set<string>();
  const laidOut = new Set<string>();
  for (const { name, table, shape, target, dtype } of everyCase()) {
    const problem = table.make(shape, target, dtype);
    const { calls } = lowerOps(problem.ops, target, dtype);
    const sources = sourcesOf(problem, target, dtype);
    expect(sources.length, name).toBe(calls.length);
    for (const [i, source] of sources.entries()) {
      const call = calls[i] as (typeof calls)[number];
      kernels.add(source.kernel);
      expect(words(source.wgsl).join(" ") === words(call.source).join(" "), name).toBe(true);
      expect(source.workgroups).toEqual(call.grid(problem.batch));
      expect(source.bindings.map(({ kind }) => kind)).toEqual(call.kinds);
      // Each binding of the text is listed under its name, and no other.
      const declared = [...source.wgsl.matchAll(/@group\((\d)\) @binding\((\d+)\) var(?:<[^>]*>)? (\w+):/g)];
      expect(declared.map((d) => `${d[1]}.${d[2]} ${d[3]}`)).toEqual(
        source.bindings.map((b) => `${b.group}.${b.binding} ${b.name}`),
      );
      if (!laidOut.has(source.wgsl)) expect(faultsOf(source.wgsl), name).toEqual([]);
      laidOut.add(source.wgsl);
    }
  }
  for (const kernel of ["conv2d/tiled", "conv2d/matrix", "conv2d/gather", "convSum/direct", "winogradProduct/subgroup"])
    expect([...kernels], kernel).toContain(kernel);
});

test("the command prints a case's WGSL alone, and opens no device", async () => {
  for (const target of ["gpu", "software"]) {
    const { code, stdout, stderr, devices } = await print("--op", "conv2d", "--case", "11", "--target", target);
    expect([code, devices, stderr]).toEqual([0, 0, ""]);
    const table = caseTables.conv2d as CaseTable;
    const sources = sourcesOf(table.make(table.cases[11] as object, targetOf(target), "f32"), targetOf(target), "f32");
    const expected = sources.flatMap((s, i) => [
      "",
      ...printed(s, `variant own, dispatch ${i + 1} of ${sources.length}`),
    ]);
    const [first, ...rest] = stdout.trimEnd().split("\n");
    expect(first).toMatch(/^\/\/ conv2d\(n=1, h=32, .*\) f32 for --target \w+$/);
    expect(rest).toEqual(expected);
  }
  const { stdout } = await print("--op", "conv2d", "--case", "11");
  expect(stdout).toContain("// variant own, dispatch 1 of 1: conv2d/tiled, 2 × 16 × 1 workgroups");
  expect(stdout).toContain('//   0.2 w: read-only-storage, packed weights "test.packed", [147456] f32');
  expect(stdout).toContain('//   0.6 y: storage, result "y", [1, 32, 32, 128] f32');
});

test("one object with --json; targets and matrix units where asked for", async () => {
  const { stdout } = await print("--op", "conv2d", "--case", "11", "--dtype", "f16", "--matrices", "--json");
  const { target, dispatches } = JSON.parse(stdout);
  expect([target, dispatches[0].variant, dispatches[0].kernel]).toEqual(["gpu", "own", "conv2d/matrix"]);
  expect(dispatches[0].wgsl).toMatch(/^enable f16;/);
  const software = ["--op", "conv2d", "--case", "11", "--target", "software"];
  const direct = await print(...software, "--variant", "direct", "--variant", "own");
  expect(direct.stdout).toContain("// variant direct, dispatch 1 of 1: conv2d/direct");
  expect(direct.stdout).toContain("// variant own, dispatch 3 of 4: winogradProduct/subgroup");
  const gather = await print(...software, "--variant", "conv2d=gather");
  expect(gather.stdout).toContain("// variant conv2d=gather, dispatch 2 of 2: conv2d/gather");
});

test("what cannot be printed is one sentence", async () => {
  const one = ["--op", "conv2d", "--case", "11"];
  const refusals: [string[], string][] = [
    [["--op", "conv9d", "--case", "0"], "--op conv9d: there is no such operation; there are conv2d"],
    [["--op", "conv2d", "--case", "99"], "--case 99: conv2d has cases 0.."],
    [["--op", "conv2d"], "--wgsl needs --op and --case"],
    [[...one, "--target", "tpu"], "--target tpu: expected gpu or software"],
    [[...one, "--target", "software", "--matrices"], "--matrices goes with --target gpu: processors have none"],
    [[...one, "--matrices"], "--matrices multiply f16: add --dtype f16"],
    [[...one, "--seconds", "3"], "--seconds: --wgsl opens no device and times nothing"],
    [[...one, "--device", "llvmpipe"], "--device: --wgsl opens no device and times nothing"],
    [[...one, "--variant", "matrix=big"], "--variant matrix=big: expected one of own, const"],
  ];
  for (const [args, sentence] of refusals) {
    const { code, stdout, stderr, devices } = await print(...args);
    expect([code, devices, stdout]).toEqual([2, 0, ""]);
    expect(stderr).toContain(sentence);
    expect(stderr.trimEnd().split("\n").length).toBeLessThanOrEqual(2);
  }
  const { code, stderr } = await ddim(["bench", "kernels", ...one, "--target", "gpu"]);
  expect([code, stderr]).toEqual([2, expect.stringContaining("--target: it goes with --wgsl")]);
});

test("what is printed is what a run compiles", async () => {
  const device = await testDevice();
  const compiled: string[] = [];
  const get = device.pipelines.get.bind(device.pipelines);
  device.pipelines.get = (label, source, kinds) => {
    if (!label.startsWith("pack")) compiled.push(source);
    return get(label, source, kinds);
  };
  const table = caseTables.conv2d as CaseTable;
  const shape = table.cases[13] as object;
  const targets = [parseTarget("own", device)];
  try {
    const init = { table, shape, dtype: "f32", targets, limits: { copy: 1e9, fma: 1e9 }, seconds: 0.01 } as const;
    expect((await runLab(device, init))[0]?.correct).toBe(true);
  } finally {
    device.pipelines.get = get;
  }
  const target = targetFor(device);
  const shown = sourcesOf(table.make(shape, target, "f32"), target, "f32").map(({ wgsl }) => wgsl);
  expect(shown.length).toBeGreaterThan(0);
  // Beside the kernels that pack weights.
  expect(new Set(compiled.map(formatWgsl))).toEqual(new Set(shown));
  // The text as it is printed compiles, too.
  for (const code of shown) {
    const { messages } = await device.gpu.createShaderModule({ code }).getCompilationInfo();
    expect(messages.filter(({ type }) => type === "error").map(({ message }) => message)).toEqual([]);
  }
  const { capabilities } = device;
  const known = Object.entries(adapters).find(([, is]) => JSON.stringify(is) === JSON.stringify(capabilities));
  if (!known) return;
  const { stdout } = await print("--op", "conv2d", "--case", "13", "--target", known[0]);
  for (const code of shown) expect(stdout).toContain(code);
});

test("the ladder of docs/kernels.md prints the kernels that it names", async () => {
  const page = readFileSync(new URL("../../docs/kernels.md", import.meta.url), "utf8");
  const rungs = page.split("\n").filter((line) => /^\| \d\. /.test(line));
  expect(rungs.length).toBe(10);
  for (const rung of rungs) {
    const [, , kernels = "", command = ""] = rung.split("|");
    const flags = command.replaceAll("`", "").trim().split(" ");
    const given = flags.includes("--op") ? flags : ["--op", "conv2d", "--case", "11", ...flags];
    const { code, stdout } = await print(...given);
    expect(code, rung).toBe(0);
    const printedKernels = [...stdout.matchAll(/^\/\/ variant .*: (\S+), \d+ ×/gm)].map((match) => match[1]);
    expect(printedKernels, rung).toEqual(kernels.replaceAll("`", "").trim().split(", "));
  }
});
