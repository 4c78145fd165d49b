/** Growth: statements from fits, and the points that they are fitted to. */
import { bytes } from "../../../src/cli/table.ts";
import type { Results } from "../../results.ts";
import type { Section } from "../document.ts";
import { spread } from "../format.ts";
import { growthResults, growthSeries, memoryStatement, timeStatement } from "../growth.ts";

export function growthSection(results: Results): Section {
  const series = growthSeries(results);
  const points = [...series.map(timeStatement), ...series.map(memoryStatement)].filter((s) => s !== undefined);
  return {
    id: "growth",
    title: "Growth",
    paragraphs: [
      "Least squares through the medians. Time has to be linear in steps and images; memory must not depend on steps.",
    ],
    points,
    tables: [
      {
        caption: "Points of the curves",
        head: ["against", "at", "network", "engine", "ms", "GPU memory", "remark"],
        lines: growthResults(results).map((result) => [
          result.axis.name,
          String(result.axis.value),
          result.model ?? result.shape.join("×"),
          result.engine,
          result.ms ? spread(result.ms) : result.status,
          result.peakGpuBytes === undefined ? "" : bytes(result.peakGpuBytes),
          result.note ?? "",
        ]),
      },
    ],
  };
}
