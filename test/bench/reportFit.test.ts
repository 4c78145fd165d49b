/** Least squares against numbers worked out by hand, and what is said of a growth curve. */
import { expect, test } from "vitest";
import { fitLine, fitPower } from "../../bench/report/fit.ts";
import { growthSeries, memoryStatement, timeStatement } from "../../bench/report/growth.ts";
import type { Result } from "../../bench/results.ts";
import { around, results, row } from "./resultsFixture.ts";

test("a line through points, with the share that it explains", () => {
  expect(fitLine([[0, 1], [1, 3], [2, 5]])).toEqual({ offset: 1, slope: 2, r2: 1 }); // biome-ignore format: points
  // By hand: means 2 and 4; sxx 2, sxy 3, syy 14/3 + ... = 4.6667.
  const { offset, slope, r2 } = fitLine([[1, 2], [2, 5], [3, 5]]); // biome-ignore format: points
  expect([offset, slope]).toEqual([1, 1.5]);
  expect(r2).toBeCloseTo(0.75, 12);
  expect(fitLine([[1, 7], [2, 7], [5, 7]])).toEqual({ offset: 7, slope: 0, r2: 1 }); // biome-ignore format: points
});

test("a power", () => {
  const { exponent, r2 } = fitPower([2, 3, 10].map((x) => [x, 5 * x ** 1.7] as const));
  expect(exponent).toBeCloseTo(1.7, 12);
  expect(r2).toBeCloseTo(1, 12);
});

type AxisName = NonNullable<Result["axis"]>["name"];
const curve = (name: AxisName, points: [x: number, ms: number, gpu?: number][]) =>
  points.map(([value, ms, peakGpuBytes]) =>
    row({ id: `growth/${name}/${value}`, group: "growth", axis: { name, value }, ms: around(ms), peakGpuBytes }),
  );
const said = (rows: Result[]) => growthSeries(results(rows)).flatMap((s) => [timeStatement(s), memoryStatement(s)]);

test("time against steps is linear, memory constant: or the report says that they are not", () => {
  // Out of order, as a run in random order would leave them.
  expect(
    said(
      curve("steps", [
        [50, 252, 1024],
        [5, 27, 1024],
        [10, 52, 1024],
      ]),
    ),
  ).toEqual([
    // biome-ignore format: points
    "ddim-webgpu on tiny: time against steps is linear, 5.00 ms per step and 2.0 ms at the start (R² 1.0000)",
    "ddim-webgpu on tiny: GPU memory against steps is constant, 1.0 KiB",
  ]);
  expect(
    said(
      curve("steps", [
        [5, 25, 1024],
        [10, 100, 2048],
        [50, 2500, 4096],
      ]),
    ),
  ).toEqual([
    // biome-ignore format: points
    expect.stringContaining("time against steps is linear"),
    "ddim-webgpu on tiny: GPU memory against steps is NOT constant, 1.0 KiB at 5, 4.0 KiB at 50",
  ]);
  expect(
    said(
      curve("batch", [
        [1, 10, 100],
        [2, 400, 200],
        [4, 20, 400],
      ]),
    ),
  ).toEqual([
    // biome-ignore format: points
    expect.stringContaining("time against batch is NOT linear"),
    "ddim-webgpu on tiny: GPU memory against batch is linear, 100 B per image (R² 1.0000)",
  ]);
});

test("time against resolution is a power of the pixels, against channels of the channels", () => {
  const [pixels, none] = said(curve("resolution", [[16, 1], [32, 4], [64, 16]])); // biome-ignore format: points
  expect(pixels).toBe("ddim-webgpu on tiny: time grows as pixels to the power of 1.00 (R² 1.0000)");
  expect(none).toBeUndefined();
  expect(said(curve("channels", [[16, 1], [32, 4], [64, 16]]))[0]).toContain("as channels to the power of 2.00"); // biome-ignore format: points
});

test("two points make no statement; other networks and engines are curves of their own", () => {
  expect(said(curve("steps", [[5, 25, 1], [10, 50, 1]]))).toEqual([undefined, undefined]); // biome-ignore format: points
  const rows = curve("steps", [[5, 25], [10, 50], [20, 100]]); // biome-ignore format: points
  const other = rows.map((r) => ({ ...r, model: "other" }));
  const peer = rows.map((r) => ({ ...r, engine: "onnxruntime-cpu" as const }));
  expect(growthSeries(results([...rows, ...other, ...peer])).map((s) => [s.model, s.engine, s.time.length])).toEqual([
    ["tiny", "ddim-webgpu", 3],
    ["other", "ddim-webgpu", 3],
    ["tiny", "onnxruntime-cpu", 3],
  ]);
});
