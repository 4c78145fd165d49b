/** Growth curves: time and GPU memory against steps, batch, resolution and channels, a small chart for each. */
import { bytes } from "../../../src/cli/table.ts";
import type { Results } from "../../results.ts";
import { digits } from "../format.ts";
import { type AxisName, type GrowthSeries, growthSeries } from "../growth.ts";
import { axis, type Chart, draw, engineColor, engineSymbol, fitted, legend, tick } from "./draw.ts";

/** Steps and batch, which time is linear in, on linear scales; the others, powers, on logarithmic ones. */
const scales: Record<AxisName, "value" | "log"> = {
  steps: "value",
  batch: "value",
  resolution: "log",
  channels: "log",
};
/** Of the networks; engines have colours and symbols. */
const dashes = ["solid", "dashed", "dotted"] as const;
/** Pixels from one name of the legend to the next. */
const LEGEND_LINE = 20;
const MIB = 2 ** 20;

export function growthCharts(results: Results): Chart[] {
  const series = growthSeries(results);
  return [...new Set(series.map((s) => s.axis))].flatMap((name) => {
    const own = series.filter((s) => s.axis === name);
    const log = scales[name] === "log" ? ", both scales logarithmic" : "";
    return [
      curves(name, own, (s) => s.time, {
        id: `${name}-time`,
        title: `Time against ${name}`,
        caption: `Medians of each engine${log}.`,
        unit: "ms",
        scale: 1,
        text: (y) => `${digits(y)} ms`,
      }),
      curves(name, own, (s) => s.memory, {
        id: `${name}-memory`,
        title: `GPU memory against ${name}`,
        caption: `Peak of what our engine allocates${log}.`,
        unit: "MiB",
        scale: MIB,
        text: bytes,
      }),
    ].filter((chart) => chart !== undefined);
  });
}

interface Quantity {
  readonly id: string;
  readonly title: string;
  readonly caption: string;
  readonly unit: string;
  readonly scale: number;
  readonly text: (y: number) => string;
}

function curves(
  name: AxisName,
  series: readonly GrowthSeries[],
  points: (s: GrowthSeries) => GrowthSeries["time"],
  { id, title, caption, unit, scale, text }: Quantity,
): Chart | undefined {
  const shown = series.filter((s) => points(s).length > 1);
  if (!shown.length) return undefined;
  const models = [...new Set(shown.map(({ model }) => model))];
  const label = ({ engine, model }: GrowthSeries) => (models.length > 1 ? `${engine}, ${model}` : engine);
  const type = scales[name];
  const xs = shown.flatMap((s) => points(s).map(([x]) => x));
  const power = (x: number, round: (x: number) => number) => 2 ** round(Math.log2(x));
  const range =
    type === "log"
      ? { logBase: 2, min: power(Math.min(...xs), Math.floor), max: power(Math.max(...xs), Math.ceil) }
      : { min: 0 };
  const head = 26 + LEGEND_LINE * shown.length;
  const option = {
    legend: legend({ orient: "vertical", left: 0, itemGap: LEGEND_LINE - 14, itemWidth: 30 }),
    grid: { top: head, left: 20, right: 20, bottom: 40, ...fitted },
    xAxis: axis(name, { type, ...range, axisLabel: tick }),
    yAxis: axis(unit, { type, nameLocation: "end", nameGap: 8, axisLabel: tick }),
    series: shown.map((s) => ({
      name: label(s),
      type: "line",
      symbol: engineSymbol(s.engine),
      symbolSize: 7,
      showSymbol: true,
      lineStyle: { color: engineColor(s.engine), width: 2, type: dashes[models.indexOf(s.model) % dashes.length] },
      itemStyle: { color: engineColor(s.engine) },
      data: points(s).map(([x, y]) => [x, y / scale]),
    })),
  };
  const titles = shown.map((s) => points(s).map(([x, y]) => `${label(s)}: ${text(y)} at ${x} ${name}`));
  return draw({ id, title, caption, wide: false }, option, titles, 240 + head);
}
