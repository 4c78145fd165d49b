/** The charts of a report by the section that they belong to. */
import type { Result, Results } from "../../results.ts";
import { describe, phases } from "../sections/networks.ts";
import { workloads } from "../select.ts";
import { classesChart } from "./classes.ts";
import type { Chart } from "./draw.ts";
import { growthCharts } from "./growth.ts";
import { peersChart } from "./peers.ts";
import { rooflineChart } from "./roofline.ts";

export type { Chart } from "./draw.ts";

export function reportCharts(results: Results): Map<string, readonly Chart[]> {
  const some = (...charts: readonly (Chart | undefined)[]) => charts.filter((chart) => chart !== undefined);
  return new Map([
    [
      "unet",
      some(peersChart("unet-engines", "One evaluation, engine by engine", workloads(results, "unet"), describe)),
    ],
    [
      "sampler",
      some(peersChart("sampler-engines", "Noise to images, engine by engine", workloads(results, "sampler"), sampling)),
    ],
    ["classes", some(classesChart(results))],
    [
      "kernels",
      some(
        rooflineChart(results),
        peersChart("kernel-engines", "Operations, engine by engine", workloads(results, "kernel"), operation),
      ),
    ],
    ["growth", growthCharts(results)],
  ]);
}

const sampling = (result: Result) =>
  `${describe(result)}, ${result.steps ?? "?"} steps${result.phase ? `, ${phases[result.phase]}` : ""}`;
const operation = (result: Result) => `${result.name}, ${result.shape.join("×")}, ${result.dtype}`;
