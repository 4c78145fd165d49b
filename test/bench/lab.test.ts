/** The kernel laboratory: what it checks, what it times, what it refuses. */
import { expect, test } from "vitest";
import { runLab } from "../../bench/kernels/lab.ts";
import { namedTargets, parseTarget } from "../../bench/kernels/targets.ts";
import { targetFor } from "../../src/kernels/target.ts";
import { tensor } from "../reference/tensor.ts";
import { ddim } from "../support/cli.ts";
import { testDevice } from "../support/gpu.ts";
import { type CaseTable, caseTables } from "../support/problems.ts";

const LIMITS = { copy: 1e9, fma: 1e9 };

const lab = async (table: CaseTable, targets?: readonly string[]) => {
  const device = await testDevice();
  const chosen = targets?.map((name) => parseTarget(name, device)) ?? namedTargets(device);
  const init = { table, shape: table.cases[5] as object, dtype: "f32", limits: LIMITS, seconds: 0.01 } as const;
  return runLab(device, { ...init, targets: chosen });
};
const linear = caseTables.linear as CaseTable;

test("a case lists every variant with its error, kernels and rates; equal targets are one", async () => {
  const results = await lab(linear, ["own", "direct", "own"]);
  expect(results.map(({ variant }) => variant)).toEqual(["own", "direct"]);
  for (const { correct, nmse, ms, gflops, kernels, roofline } of results) {
    expect(correct).toBe(true);
    expect(nmse).toBeLessThanOrEqual(1e-10);
    expect(kernels.length).toBeGreaterThan(0);
    expect(ms?.samples).toBeGreaterThanOrEqual(5);
    // 2·3·6·10 operations.
    expect((gflops as number) * (ms?.median as number)).toBeCloseTo(360 / 1e6, 12);
    expect(roofline).toBeGreaterThan(0);
  }
});

test("a variant that computes something else is not timed", async () => {
  const wrong: CaseTable = {
    cases: linear.cases,
    make(...args) {
      const problem = linear.make(...args);
      const { shape, data } = problem.expected();
      return { ...problem, expected: () => tensor(shape, (i) => (data[i] as number) * 1.001) };
    },
  };
  const [result] = await lab(wrong, ["own"]);
  expect(result).toMatchObject({ correct: false });
  expect(result?.ms).toBeUndefined();
});

test("a variant is a name, or changes of the device's own", async () => {
  const device = await testDevice();
  const own = targetFor(device);
  expect(parseTarget("own", device).target).toEqual(own);
  expect(parseTarget("storage=buffer,lanes=0,software=true", device).target).toEqual({
    ...own,
    storage: "buffer",
    lanes: 0,
    software: true,
  });
  for (const text of ["fastest", "storage=tape", "lanes=few", "speed=9", "lanes="])
    expect(() => parseTarget(text, device)).toThrow(`--variant ${text}: expected one of own, const`);
});

test("without a case the command lists what there is", async () => {
  const { code, stdout, devices } = await ddim(["bench", "kernels", "--op", "linear"]);
  expect([code, devices]).toEqual([0, 0]);
  expect(stdout).toContain("--op linear --case 5  linear(m=3, k=6, o=10, noBias)");
  expect((await ddim(["bench", "kernels"])).stdout).toContain("--op attention --case 0");
});

test("what cannot be right is refused before a device is opened", async () => {
  const refusals: [string[], string][] = [
    [["--op", "conv9d"], "--op conv9d: there is no such operation; there are conv2d, groupNorm, attention, linear"],
    [["--op", "linear", "--case", "99"], "--case 99: linear has cases 0.."],
    [["--op", "linear", "--case", "0", "--seconds", "0"], "--seconds must be above 0, got 0"],
  ];
  for (const [args, sentence] of refusals) {
    const { code, stderr, devices } = await ddim(["bench", "kernels", ...args]);
    expect([code, devices]).toEqual([2, 0]);
    expect(stderr).toContain(sentence);
  }
});
