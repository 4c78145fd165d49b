/** The numbers to remember: our engine against each peer over all workloads of a kind, wins and losses alike. */
import type { Results, Row } from "../../results.ts";
import type { Section } from "../document.ts";
import { times } from "../format.ts";
import { measuredEngines, missingEngines, OURS, speedup, type Workload, workloads } from "../select.ts";

const kinds: readonly [Row["group"], string][] = [
  ["unet", "one evaluation of a UNet"],
  ["sampler", "the whole sampler"],
  ["kernel", "single operations"],
];

export function summarySection(results: Results): Section {
  const points = kinds.flatMap(([group, name]) => statements(workloads(results, group), name));
  // Engines that are missing altogether are named once.
  const gone = new Set(missingEngines(results).map(({ engine }) => engine));
  const rows = results.rows.filter(({ engine }) => !gone.has(engine));
  const left = rows.filter(({ status }) => status !== "ok");
  const counts = [...new Set(left.map(({ status }) => status))].map(
    (status) => `${left.filter((row) => row.status === status).length} ${status}`,
  );
  const missing = missingEngines(results).map((e) => `${e.engine} is missing: ${e.missing}.`);
  const rest = `${rows.length} measurements, ${counts.length ? `of which ${counts.join(", ")}` : "all as asked"}.`;
  return { id: "summary", title: "Summary", paragraphs: [], points: [...points, ...missing, rest], tables: [] };
}

function statements(list: readonly Workload[], name: string): string[] {
  return measuredEngines(list)
    .filter((engine) => engine !== OURS)
    .flatMap((engine) => {
      const factors = list.flatMap(({ byEngine }) => {
        const [ours, peer] = [byEngine.get(OURS), byEngine.get(engine)];
        return (ours && peer && speedup(ours, peer)) ?? [];
      });
      if (!factors.length) return [];
      const mean = Math.exp(factors.reduce((sum, f) => sum + Math.log(f), 0) / factors.length);
      const faster = factors.filter((f) => f > 1).length;
      const range = factors.length > 1 ? ` (${times(Math.min(...factors))} to ${times(Math.max(...factors))})` : "";
      return `Against ${engine}, ${name}: ${times(mean)} as fast in the geometric mean${range}, faster on ${faster} of ${factors.length}.`;
    });
}
