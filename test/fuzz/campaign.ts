/**
 * Many runs of one reader, in a process of its own (`scripts/fuzz.mjs` starts one for each): times and memory count here.
 * The input in work lies in a file, for the case that this process does not survive it.
 */
import { writeFileSync } from "node:fs";
import process from "node:process";
import fc from "fast-check";
import { keep } from "./corpus.ts";
import { ownFolder } from "./disk.ts";
import { Finding, type Outcome, outcomeOf, type Target } from "./harness.ts";
import { targets } from "./targets/index.ts";

/** What a refused input may take. */
const MOST_MS = 2000;
const MOST_BYTES = 256 * 2 ** 20;
/** Different findings after which a reader is left alone. */
const MOST_FINDINGS = 8;

export interface Report {
  reader: string;
  runs: number;
  refused: number;
  accepted: number;
  slowest: number;
  peak: number;
  findings: { kind: string; problem: string; seed: number; path: string | null; file: string }[];
}

/** Most memory of this process so far, in bytes. */
const peak = () => process.resourceUsage().maxRSS * 1024;
const collect = (globalThis as { gc?: () => void }).gc ?? (() => {});

async function campaign(target: Target, runs: number, seed: number, inputFile: string): Promise<Report> {
  for (const bytes of target.seeds) await outcomeOf(target, bytes);
  collect();
  const base = peak();
  const report: Report = { reader: target.name, runs: 0, refused: 0, accepted: 0, slowest: 0, peak: 0, findings: [] };
  const known = new Set<string>();
  let told = performance.now();

  /** @throws Finding for a refusal that took too much */
  function judge({ refused, ms }: Outcome, before: number): void {
    report[refused === undefined ? "accepted" : "refused"]++;
    if (refused === undefined) return;
    report.slowest = Math.max(report.slowest, ms);
    if (ms > MOST_MS) throw new Finding("slow", `refused after ${Math.round(ms)} ms: ${refused}`);
    const now = peak();
    report.peak = Math.max(report.peak, now - base);
    if (now > before && now - base > MOST_BYTES)
      throw new Finding("memory", `refused after ${Math.round((now - base) / 2 ** 20)} MiB: ${refused}`);
  }

  async function tryOne(bytes: Uint8Array): Promise<void> {
    report.runs++;
    writeFileSync(inputFile, bytes);
    const before = peak();
    try {
      judge(await outcomeOf(target, bytes), before);
    } catch (error) {
      const kind = error instanceof Finding ? error.kind : `thrown ${String(error)}`;
      if (!known.has(kind)) throw error;
    }
    if (report.runs % 64 === 0) collect();
    if (performance.now() - told > 1000) {
      told = performance.now();
      process.send?.({ runs: report.runs });
    }
  }

  for (let round = 0; report.runs < runs && known.size < MOST_FINDINGS; round++) {
    const property = fc.asyncProperty(target.input, tryOne);
    const details = await fc.check(property, { numRuns: runs - report.runs, seed: seed + round });
    const { counterexample, errorInstance: error, counterexamplePath: path } = details;
    if (!counterexample) break;
    const kind = error instanceof Finding ? error.kind : `thrown ${String(error)}`;
    known.add(kind);
    const problem = error instanceof Error ? `${error.message}\n${(error.cause as Error)?.stack ?? ""}` : String(error);
    report.findings.push({ kind, problem, seed: seed + round, path, file: keep(target.name, counterexample[0]) });
  }
  return report;
}

const [name, runs, seed, inputFile] = process.argv.slice(2);
const send = (message: unknown) => new Promise<void>((done) => process.send?.(message, () => done()));
if (name === undefined) await send(targets.map((target) => target.name));
else {
  const target = targets.find((each) => each.name === name) as Target;
  await send({ report: await campaign(target, Number(runs), Number(seed), inputFile ?? `${ownFolder()}/input`) });
}
process.disconnect?.();
