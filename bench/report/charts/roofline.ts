/** The roofline: each operation by its arithmetic intensity and the rate it reaches, below the measured ceilings. */
import { engines, OURS, type Result, type Results } from "../../results.ts";
import { digits, percent } from "../format.ts";
import { workTime } from "../select.ts";
import { axis, type Chart, draw, INK, legend, seriesColor, symbols, tick } from "./draw.ts";

interface Spot {
  readonly result: Result;
  /** Operations per byte. */
  readonly x: number;
  /** GFLOP/s. */
  readonly y: number;
}

export function rooflineChart({ rows, limits }: Results): Chart | undefined {
  const spots = rows.flatMap((result): Spot[] => {
    const ms = workTime(result);
    if (result.group !== "kernel" || !result.flops || !result.bytes || !ms) return [];
    return [{ result, x: result.flops / result.bytes, y: result.flops / ms / 1e6 }];
  });
  if (!spots.some(({ result }) => result.engine === OURS)) return undefined;
  const classes = [...new Set(spots.map(({ result }) => result.opClass ?? "other"))];
  const groups = engines.flatMap((engine) => {
    const own = spots.filter(({ result }) => result.engine === engine);
    if (engine !== OURS) return own.length ? [{ name: engine, spots: own }] : [];
    return classes.map((name) => ({
      name,
      spots: own.filter(({ result }) => (result.opClass ?? "other") === name),
    }));
  });
  const ridge = limits.fma / limits.copy;
  const xs = [...spots.map(({ x }) => x), ridge];
  const [left, right] = [Math.min(...xs) / 2, Math.max(...xs) * 4];
  const roof = [left, ridge, right].map((x) => [x, Math.min(x * limits.copy, limits.fma) / 1e9]);
  const option = {
    legend: legend({ data: ["measured ceiling", ...groups.map(({ name }) => name)] }),
    grid: { top: 84, left: 60, right: 20, bottom: 45 },
    xAxis: axis("operations per byte", {
      type: "log",
      min: left,
      max: right,
      axisLabel: { ...tick, showMinLabel: false, showMaxLabel: false },
    }),
    yAxis: axis("GFLOP/s", { type: "log", nameGap: 42, axisLabel: tick }),
    series: [
      line("measured ceiling", roof),
      ...groups.map(({ name, spots }, i) => ({
        name,
        type: "scatter",
        symbol: symbols[(i < classes.length ? i : i - classes.length) % symbols.length],
        symbolSize: i < classes.length ? 12 : 8,
        itemStyle:
          i < classes.length
            ? { color: seriesColor(i), opacity: 1 }
            : { color: "none", borderColor: seriesColor(i), borderWidth: 1.5, opacity: 1 },
        data: spots.map(({ x, y }) => [x, y]),
      })),
    ],
  };
  const titles = [[], ...groups.map(({ spots }) => spots.map(title))];
  const copy = digits(limits.copy / 1e9);
  const peak = digits(limits.fma / 1e9);
  const caption =
    `Rate against arithmetic intensity, both logarithmic. The line is what this machine allows: ${copy} GB/s of copy ` +
    `bandwidth to the left of the ridge at ${digits(ridge)} operations per byte, ${peak} GFLOP/s of multiply-adds to its ` +
    "right. Filled: ddim-webgpu by kind of operation; hollow: the peers, whose times include upload and read-back where they " +
    "cannot keep data on the device.";
  return draw({ id: "roofline", title: "Roofline", caption, wide: true }, option, titles, 460);
}

const line = (name: string, data: readonly (readonly number[])[]) => ({
  name,
  type: "line",
  symbol: "none",
  silent: true,
  lineStyle: { color: INK, width: 2 },
  itemStyle: { color: INK },
  data,
});

function title({ result, x, y }: Spot): string {
  const share = result.roofline === undefined ? "" : `, ${percent(result.roofline)} of the roofline`;
  return `${result.engine}: ${result.name}, ${result.shape.join("×")}, ${result.dtype}: ${digits(x)} operations per byte, ${digits(y)} GFLOP/s${share}`;
}
