/** The report of a results file as a document. */
import type { Result, Results } from "../../results.ts";
import type { Document, Section } from "../document.ts";
import { growthSection } from "./growth.ts";
import { kernelsSection } from "./kernels.ts";
import { classesSection, memorySection, samplerSection, unetSection } from "./networks.ts";
import { enginesSection, machineSection } from "./setup.ts";
import { summarySection } from "./summary.ts";

/** Sections without a table that says anything are left out: a run of some workloads only has no others to report. */
export function reportDocument(results: Results): Document {
  const sections: Section[] = [
    summarySection(results),
    unetSection(results),
    samplerSection(results),
    classesSection(results),
    kernelsSection(results),
    growthSection(results),
    memorySection(results),
    enginesSection(results),
    machineSection(results),
    remarksSection(results),
  ];
  return {
    title: `Performance on ${results.environment.adapter.name}`,
    sections: sections.map(withoutEmptyTables).filter(({ points, tables }) => points?.length || tables.length),
  };
}

const withoutEmptyTables = (section: Section): Section => ({
  ...section,
  tables: section.tables.filter(({ lines }) => lines.length),
});

/** Everything that was not run as asked, whichever table it belongs to: workloads with the same reason together. */
function remarksSection({ rows }: Results): Section {
  const groups = new Map<string, { result: Result; ids: string[] }>();
  for (const result of rows.filter(({ status }) => status !== "ok")) {
    const key = JSON.stringify([result.engine, result.status, result.note]);
    const group = groups.get(key) ?? { result, ids: [] };
    group.ids.push(result.id);
    groups.set(key, group);
  }
  const count = new Set(rows.map(({ id }) => id)).size;
  return {
    id: "remarks",
    title: "Not run as asked",
    paragraphs: [],
    tables: [
      {
        caption: "Reduced, skipped, missing and failed measurements",
        head: ["engine", "status", "reason", "workloads"],
        lines: [...groups.values()].map(({ result, ids }) => [
          result.engine,
          result.status,
          result.note ?? "",
          ids.length === count ? "all" : ids.join(", "),
        ]),
      },
    ],
  };
}
