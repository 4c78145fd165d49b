/** The numbers to remember: our engine against each peer over all workloads of a kind, wins and losses alike. */
import { OURS, type Result, type Results } from "../../results.ts";
import type { Section } from "../document.ts";
import { digits, percent, times } from "../format.ts";
import { measuredEngines, missingEngines, runNoise, speedup, type Workload, workloads } from "../select.ts";

/** Cold starts are no faster or slower networks: they are counted apart. */
const kinds: readonly { group: Result["group"]; cold?: boolean; name: string }[] = [
  { group: "unet", name: "one evaluation of a UNet" },
  { group: "sampler", cold: false, name: "the whole sampler, warm" },
  { group: "sampler", cold: true, name: "cold starts" },
  { group: "kernel", name: "single operations" },
];

/** Above it a run says that it was disturbed. */
const DISTURBED = 0.15;

export function summarySection(results: Results): Section {
  const points = kinds.flatMap(({ group, cold, name }) => {
    const list = workloads(results, group);
    const isCold = ({ result: { phase } }: Workload) => phase !== undefined && phase !== "warm";
    return statements(cold === undefined ? list : list.filter((w) => isCold(w) === cold), name);
  });
  // Engines that are missing altogether are named once.
  const gone = new Set(missingEngines(results).map(({ engine }) => engine));
  const rows = results.rows.filter(({ engine }) => !gone.has(engine));
  const left = rows.filter(({ status }) => status !== "ok");
  const counts = [...new Set(left.map(({ status }) => status))].map(
    (status) => `${left.filter((result) => result.status === status).length} ${status}`,
  );
  const missing = missingEngines(results).map((e) => `${e.engine} is missing: ${e.missing}.`);
  const rest = `${rows.length} measurements, ${counts.length ? `of which ${counts.join(", ")}` : "all as asked"}.`;
  return {
    id: "summary",
    title: "Summary",
    paragraphs: [],
    points: [...points, ...noise(results), ...missing, rest],
    tables: [],
  };
}

function noise(results: Results): string[] {
  if (!results.noise.length) return [];
  const share = runNoise(results);
  const { load, cpu } = results.environment;
  const disturbed =
    ` This run was disturbed: the load was ${digits(load.start, 2)} when it began and ${digits(load.end, 2)} when it ended, ` +
    `on ${cpu.cores} cores. Ratios that near to 1 mean nothing.`;
  return [`Noise: an engine against itself differs by ${percent(share)}.${share > DISTURBED ? disturbed : ""}`];
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
