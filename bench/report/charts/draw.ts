/**
 * ECharts on the server side: an option becomes an SVG that takes its colours from the page's CSS variables, so that one
 * picture serves light, dark and paper, and tells its points' values as tooltips without any script.
 */
import { BarChart, CustomChart, LineChart, ScatterChart } from "echarts/charts";
import { GridComponent, LegendComponent } from "echarts/components";
import { type EChartsCoreOption, init, use } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";
import { type EngineName, engines } from "../../results.ts";
import { markup } from "../markup.ts";

use([SVGRenderer, BarChart, CustomChart, LineChart, ScatterChart, GridComponent, LegendComponent]);

export interface Chart {
  /** Unique in the page. */
  readonly id: string;
  readonly title: string;
  /** What to see and how to read it: the figure's caption. */
  readonly caption: string;
  /** Takes the whole width of the page; others stand beside each other. */
  readonly wide: boolean;
  readonly svg: string;
}

/** CSS variables of style.ts. */
export const INK = "var(--ink)";
export const FAINT = "var(--faint)";
export const RULE = "var(--rule)";
export const seriesColor = (index: number): string => `var(--series-${index % 8})`;
/** The same in every chart. */
export const engineColor = (engine: EngineName): string => seriesColor(engines.indexOf(engine));
/** Told apart without colour, too. */
export const symbols = [
  "circle",
  "rect",
  "triangle",
  "diamond",
  // A triangle that points down, a plus.
  "path://M0,0L10,0L5,9Z",
  "path://M3,0L7,0L7,3L10,3L10,7L7,7L7,10L3,10L3,7L0,7L0,3L3,3Z",
] as const;
export const engineSymbol = (engine: EngineName): string =>
  symbols[engines.indexOf(engine) % symbols.length] ?? "circle";

const FONT = "system-ui, sans-serif";

/** Width of a drawing in CSS pixels at full size; it shrinks with the page. */
const WIDTH = { wide: 760, narrow: 420 };

/** @param titles - by series and data index: what a point is */
export function draw(
  about: Omit<Chart, "svg">,
  option: EChartsCoreOption,
  titles: readonly (readonly string[])[],
  height: number,
): Chart {
  const width = about.wide ? WIDTH.wide : WIDTH.narrow;
  const chart = init(null, null, { renderer: "svg", ssr: true, width, height });
  chart.setOption({
    animation: false,
    textStyle: { color: INK, fontFamily: FONT },
    ...option,
  });
  const svg = chart.renderToSVGString({ useViewBox: true });
  chart.dispose();
  return { ...about, svg: finish(svg, titles, about.id) };
}

/** Leaves out what only ECharts' script would use, makes ids unique in the page, adds the tooltips. */
function finish(svg: string, titles: readonly (readonly string[])[], id: string): string {
  return svg
    .replace(/<style ?>[\s\S]*?<\/style>\s*/g, "")
    .replace(/ class="zr[^"]*"/g, "")
    .replace(
      / ecmeta_series_index="(\d+)" ecmeta_data_index="(\d+)" ecmeta_ssr_type="chart"([^>]*)><\//g,
      (_, s, d, rest) => {
        const title = titles[Number(s)]?.[Number(d)];
        return `${rest}>${title ? `<title>${markup(title)}</title>` : ""}</`;
      },
    )
    .replace(/ ecmeta_\w+="[^"]*"/g, "")
    .replace(/zr\d+-/g, `${id}-`)
    .replace(/<svg width="\d+" height="\d+"/, "<svg");
}

export const axisText = { color: INK, fontFamily: FONT, fontSize: 12 };

/** Labels of numeric axes: 0.1, 20, 1000. */
export const tick = { color: INK, fontSize: 12, formatter: (value: number) => String(Number(value.toPrecision(2))) };

/** What all axes look like. */
export const axis = (name: string, more: object = {}) => ({
  name,
  nameLocation: "middle",
  nameGap: 30,
  nameTextStyle: axisText,
  axisLabel: { ...axisText, hideOverlap: true },
  axisLine: { show: true, lineStyle: { color: FAINT } },
  axisTick: { show: false },
  splitLine: { show: true, lineStyle: { color: RULE } },
  ...more,
});

/** Of a grid: it gives way to the labels of its axes. */
export const fitted = { outerBoundsMode: "same", outerBoundsContain: "axisLabel" } as const;

export const legend = (more: object = {}) => ({
  top: 0,
  left: "center",
  textStyle: axisText,
  itemGap: 28,
  itemWidth: 14,
  itemHeight: 12,
  ...more,
});
