/** What `ddim bench compare` prints. */
import { bytes, plural, table } from "../../src/cli/table.ts";
import type { Results, Spread } from "../results.ts";
import type { Change, Comparison, Verdict } from "./compare.ts";
import { digits, percent, spread, times } from "./format.ts";

/** Most that the ratios of two runs on the same machine may differ by. */
const REPEATABLE = 0.15;
const ORDER: readonly Verdict[] = ["slower", "faster", "within noise", "not measured", "only before", "only after"];

export interface Side {
  readonly file: string;
  readonly results: Results;
}

export function compareText(
  { changes, noise, warnings, repeatability }: Comparison,
  before: Side,
  after: Side,
): string {
  const sorted = [...changes].sort((a, b) => ORDER.indexOf(a.verdict) - ORDER.indexOf(b.verdict));
  const memory = changes.filter((c) => c.memory);
  const parts = [
    [describe("before", before), describe("after", after), ...warnings.map((w) => `warning: ${w}`)].join("\n"),
    table(["verdict", "workload", "engine", "before, ms", "after, ms", "factor", "noise"], sorted.map(line)).join("\n"),
    memory
      .map((c) => `memory: ${c.id}: ${bytes(c.memory?.before ?? 0)} before, ${bytes(c.memory?.after ?? 0)} after`)
      .join("\n"),
    repeatability && repeats(repeatability, noise, before, after),
    `${tally(changes)}; an engine against itself: ±${percent(noise)}.`,
  ];
  return parts.filter(Boolean).join("\n\n");
}

const describe = (name: string, { file, results: { environment: e } }: Side) =>
  `${name.padEnd(6)} ${file}: ${e.version}${e.commit ? ` (${e.commit})` : ""}, ${e.date}, ${e.adapter.name}`;

const time = (s: Spread | undefined) => (s ? spread(s) : "");

function line({ verdict, id, engine, before, after, factor, tolerance, note }: Change): string[] {
  const bound = tolerance === undefined ? (note ?? "") : `±${percent(tolerance)}`;
  return [verdict, id, engine, time(before), time(after), factor === undefined ? "" : times(factor), bound];
}

const tally = (changes: readonly Change[]) =>
  ORDER.flatMap((verdict) => {
    const count = changes.filter((c) => c.verdict === verdict).length;
    return count ? `${count} ${verdict}` : [];
  }).join(", ");

/** Whether the two runs give the same ratios to the peers; where they do not, what may have disturbed them. */
function repeats(
  { ratios, worst, worstId }: NonNullable<Comparison["repeatability"]>,
  noise: number,
  ...sides: readonly Side[]
): string {
  const found = `${plural(ratios, "ratio")} of network evaluations to the peers: at most ${percent(worst)} apart (${worstId})`;
  if (worst <= REPEATABLE) return `${found}.`;
  const loads = sides.map(
    ({ results: { environment: e } }) => `${digits(e.load.start, 2)} to ${digits(e.load.end, 2)}`,
  );
  return (
    `${found}, more than ${percent(REPEATABLE)}: the engine against itself differs by ${percent(noise)}, and the machine's ` +
    `load was ${loads.join(" before, ")} after on ${sides[0]?.results.environment.cpu.cores} cores.`
  );
}
