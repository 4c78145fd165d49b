/** `ddim bench`: the whole harness. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Terminal } from "../../src/cli/io.ts";
import { checkFile, checkFolder, writeFile } from "../../src/cli/output.ts";
import { packageRoot } from "../../src/cli/package.ts";
import { UsageError } from "../../src/runtime/errors.ts";
import { markdownSource } from "../report/command.ts";
import { resultsAsHtml, resultsAsMarkdown } from "../report/index.ts";
import { type EngineName, engines, resultsName } from "../results.ts";
import { parseEngines } from "./engines.ts";
import { runBenchmarks } from "./run.ts";

export interface HarnessFlags {
  quick?: true;
  full?: true;
  engines?: string;
  only?: string;
  seconds?: number;
  device?: string;
  output?: string;
  html?: string;
  json?: true;
}

/** Seconds for one workload on all engines. */
const SECONDS = { quick: 1, normal: 4, full: 10 };
const QUICK_ENGINES: readonly EngineName[] = ["ddim-webgpu", "onnxruntime-cpu", "onnxruntime-webgpu"];

const RESULTS = "bench/results";

export async function benchAll(terminal: Terminal, flags: HarnessFlags): Promise<void> {
  if (flags.quick && flags.full) throw new UsageError("quick", "--quick and --full exclude each other");
  const extent = flags.quick ? "quick" : flags.full ? "full" : "normal";
  const seconds = flags.seconds ?? SECONDS[extent];
  if (!(seconds > 0)) throw new UsageError("seconds", `--seconds must be above 0, got ${seconds}`);
  const wanted = flags.engines === undefined ? undefined : parseEngines(flags.engines);
  const folder = join(packageRoot(), RESULTS);
  if (flags.output !== undefined) checkFile(flags.output, true);
  else checkFolder(folder);
  if (flags.html !== undefined) checkFile(flags.html, true);
  const results = await runBenchmarks({
    extent,
    engines: wanted ?? (extent === "quick" ? QUICK_ENGINES : engines),
    seconds,
    filter: flags.only,
    adapter: flags.device,
    command: commandLine(flags),
    signal: terminal.io.signal,
    onProgress: (text) => terminal.note(text),
  });
  if (flags.output === undefined) mkdirSync(folder, { recursive: true });
  const output = flags.output ?? join(folder, resultsName(results.environment));
  writeFile(output, `${JSON.stringify(results, undefined, 1)}\n`);
  if (flags.html !== undefined) writeFile(flags.html, await resultsAsHtml(results));
  terminal.note(`${output}: the results`);
  if (flags.json) terminal.json({ ...results });
  else terminal.data(resultsAsMarkdown(results, markdownSource(output)).trimEnd().split("\n"));
}

/** The command that makes such results, without where they go. */
function commandLine({ quick, full, engines, only, seconds }: HarnessFlags): string {
  const values = Object.entries({ "--engines": engines, "--only": only, "--seconds": seconds });
  const given = values.flatMap(([flag, value]) => (value === undefined ? [] : [`${flag} ${value}`]));
  return ["ddim bench", ...(quick ? ["--quick"] : []), ...(full ? ["--full"] : []), ...given].join(" ");
}
