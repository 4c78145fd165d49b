/** Where a UNet's GPU time goes: shares of the kinds of kernels, one bar per evaluation. */
import type { Results } from "../../results.ts";
import { digits, percent } from "../format.ts";
import { describe, timeByClass } from "../sections/networks.ts";
import { kernelClasses } from "../select.ts";
import { axis, axisText, type Chart, draw, fitted, legend, seriesColor } from "./draw.ts";

export function classesChart(results: Results): Chart | undefined {
  const bars = timeByClass(results);
  if (!bars.length) return undefined;
  const shown = kernelClasses.filter((name) => bars.some(({ ms }) => ms[name] > 0));
  const option = {
    legend: legend(),
    grid: { top: 40, left: 40, right: 30, bottom: 45, ...fitted },
    xAxis: axis("share of GPU time, %", { type: "value", max: 100 }),
    yAxis: axis("", {
      type: "category",
      inverse: true,
      data: bars.map(({ result }) => describe(result)),
      splitLine: { show: false },
    }),
    series: shown.map((name) => ({
      name,
      type: "bar",
      stack: "share",
      barMaxWidth: 26,
      itemStyle: { color: seriesColor(kernelClasses.indexOf(name)), borderColor: "var(--paper)", borderWidth: 1 },
      label: {
        show: true,
        ...axisText,
        color: "var(--on-series)",
        formatter: ({ value }: { value: number }) => (value >= 8 ? `${value.toFixed(0)} %` : ""),
      },
      data: bars.map(({ ms, total }) => (100 * ms[name]) / total),
    })),
  };
  const titles = shown.map((name) =>
    bars.map(
      ({ result, ms, total }) => `${describe(result)}: ${name} ${digits(ms[name])} ms, ${percent(ms[name] / total)}`,
    ),
  );
  const caption =
    "Shares of the GPU time of one evaluation, by timestamps. Normalisation is GroupNorm's statistics and what applies them " +
    "where no other kernel does.";
  const about = { id: "time-by-kind", title: "Time by kind of kernel", caption, wide: true };
  return draw(about, option, titles, 110 + 36 * bars.length);
}
