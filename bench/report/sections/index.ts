/** The report of a results file as a document. */
import type { Results, Row } from "../../results.ts";
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
    remarksSection(results.rows),
  ];
  return {
    title: `Performance on ${results.environment.adapter.name}`,
    sections: sections.map(withoutEmptyTables).filter(({ points, tables }) => points?.length || tables.length),
  };
}

const withoutEmptyTables = (section: Section): Section => ({
  ...section,
  tables: section.tables.filter(({ rows }) => rows.length),
});

/** Everything that was not run as asked, whichever table it belongs to. */
function remarksSection(rows: readonly Row[]): Section {
  const remarks = rows.filter(({ status }) => status !== "ok");
  return {
    id: "remarks",
    title: "Not run as asked",
    paragraphs: [],
    tables: [
      {
        caption: "Reduced, skipped, missing and failed measurements",
        head: ["workload", "engine", "status", "reason"],
        rows: remarks.map((row) => [row.id, row.engine, row.status, row.note ?? ""]),
      },
    ],
  };
}
