/** Engines side by side: medians with their quartiles on a logarithmic scale, one line per workload. */
import type { CustomSeriesRenderItem } from "echarts/types/src/chart/custom/CustomSeries.js";
import type { Result } from "../../results.ts";
import { spread } from "../format.ts";
import { measuredEngines, type Workload } from "../select.ts";
import { axis, type Chart, draw, engineColor, engineSymbol, fitted, legend, tick } from "./draw.ts";

/** Between the marks of two engines on the same workload, in pixels. */
const STEP = 9;

export function peersChart(
  id: string,
  title: string,
  list: readonly Workload[],
  label: (result: Result) => string,
): Chart | undefined {
  const shown = measuredEngines(list);
  const timed = list.filter(({ byEngine }) => [...byEngine.values()].some(({ ms }) => ms));
  if (!shown.length) return undefined;
  const tracks = shown.map((engine, i) => ({
    engine,
    color: engineColor(engine),
    symbol: engineSymbol(engine),
    offset: (i - (shown.length - 1) / 2) * STEP,
    marks: timed.flatMap(({ result, byEngine }, y) => {
      const own = byEngine.get(engine);
      return own?.ms ? [{ y, ms: own.ms, text: `${label(result)}: ${engine} ${spread(own.ms)} ms` }] : [];
    }),
  }));
  const option = {
    legend: legend({ data: shown }),
    grid: { top: 40, left: 60, right: 30, bottom: 45, ...fitted },
    xAxis: axis("ms (logarithmic; left is faster)", {
      type: "log",
      axisLabel: tick,
    }),
    yAxis: axis("", {
      type: "category",
      inverse: true,
      data: timed.map(({ result }) => label(result)),
      splitArea: { show: false },
      splitLine: { show: true, lineStyle: { color: "var(--rule)" } },
    }),
    series: [
      ...tracks.map(({ engine, color, symbol, offset, marks }) => ({
        name: engine,
        type: "scatter",
        symbol,
        symbolSize: 9,
        symbolOffset: [0, offset],
        itemStyle: { color, opacity: 1 },
        data: marks.map(({ y, ms }) => [ms.median, y]),
      })),
      ...tracks.map(({ color, offset, marks }) => ({
        type: "custom",
        silent: true,
        z: 1,
        renderItem: whisker(offset, color),
        encode: { x: [0, 1], y: 2 },
        data: marks.map(({ y, ms }) => [ms.p25, ms.p75, y]),
      })),
    ],
  };
  const caption =
    "Medians of each engine, the lines from the lower to the upper quartile. Each step of the scale multiplies.";
  const titles = tracks.map(({ marks }) => marks.map(({ text }) => text));
  const height = 100 + Math.max(30, (shown.length + 1) * STEP) * timed.length;
  return draw({ id, title, caption, wide: true }, option, titles, height);
}

const whisker =
  (offset: number, color: string): CustomSeriesRenderItem =>
  (_, api) => {
    const [x1 = 0, y = 0] = api.coord([api.value(0), api.value(2)]);
    const [x2 = 0] = api.coord([api.value(1), api.value(2)]);
    return {
      type: "line",
      shape: { x1, x2, y1: y + offset, y2: y + offset },
      style: { stroke: color, lineWidth: 2 },
    };
  };
