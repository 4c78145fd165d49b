// `npm run fuzz -- [--runs N] [--reader NAME] [--seed N]`: hostile input for every reader and every object of options
// (test/fuzz), each in a process of its own; a table at the end. Findings are kept in test/fuzz/corpus.
import { fork } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build } from "tsdown";
import config from "../tsdown.config.mjs";
import { writeGoldenWeights } from "./goldens.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const OUT = join(ROOT, `.cache/fuzz.${process.pid}`);
/** Without a word for so long a reader hangs. */
const SILENCE_MS = 60_000;

/** @returns what was typed, or ends with a sentence */
function typed() {
  try {
    return parseArgs({
      options: {
        runs: { type: "string", default: "1000" },
        reader: { type: "string", multiple: true },
        seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
      },
    }).values;
  } catch (error) {
    process.stderr.write(`fuzz: ${/** @type {Error} */ (error).message}\n`);
    process.exit(2);
  }
}

const values = typed();
writeGoldenWeights();
for (const name of /** @type {const} */ (["runs", "seed"]))
  if (!/^\d{1,12}$/.test(values[name])) {
    process.stderr.write(`fuzz: --${name} must be a whole number, not ${values[name]}\n`);
    process.exit(2);
  }

/**
 * @typedef {import("../test/fuzz/campaign.ts").Report} Report
 * @param {string[]} args of test/fuzz/campaign.ts
 * @param {(runs: number) => void} [onRuns]
 * @returns {Promise<{ message?: unknown, runs: number, end: string }>} its answer, or how it ended
 */
function child(args, onRuns) {
  return new Promise((done) => {
    const options = { cwd: ROOT, execArgv: ["--expose-gc", "--no-warnings"] };
    const campaign = fork(join(OUT, "campaign.js"), args, options);
    /** @type {unknown} */
    let message;
    let runs = 0;
    let end = "";
    const hangs = () => {
      end = "hangs";
      campaign.kill("SIGKILL");
    };
    let timer = setTimeout(hangs, SILENCE_MS);
    campaign.on("message", (/** @type {any} */ said) => {
      clearTimeout(timer);
      timer = setTimeout(hangs, SILENCE_MS);
      if (typeof said.runs !== "number") message = said;
      else {
        runs = said.runs;
        onRuns?.(runs);
      }
    });
    campaign.on("exit", (code, signal) => {
      clearTimeout(timer);
      done({ message, runs, end: end || `ends with ${signal ?? code}` });
    });
  });
}

await build({
  ...config,
  config: false,
  cwd: ROOT,
  entry: { campaign: "test/fuzz/campaign.ts" },
  outDir: OUT,
  dts: false,
  deps: { neverBundle: [/^(?!@oxc)[@a-z]/] },
  outputOptions: {},
  logLevel: "error",
});

const listed = /** @type {string[] | undefined} */ ((await child([])).message) ?? [];
const unknown = values.reader?.find((name) => !listed.includes(name));
if (unknown !== undefined || listed.length === 0) {
  process.stderr.write(
    `fuzz: ${unknown === undefined ? "no readers" : `there is no ${unknown}`}: ${listed.join(", ")}\n`,
  );
  process.exit(2);
}

const scratch = mkdtempSync(join(tmpdir(), "ddim-fuzz-"));
const input = join(scratch, "input");
/** @type {Report[]} */
const reports = [];
for (const reader of values.reader ?? listed) {
  const { message, runs, end } = await child([reader, values.runs, values.seed, input], (done) => {
    if (process.stderr.isTTY) process.stderr.write(`\r${reader} ${done}  `);
  });
  /** @type {Report} */
  const report = /** @type {any} */ (message)?.report ?? {
    ...{ reader, runs, refused: 0, accepted: 0, slowest: Number.NaN, peak: Number.NaN },
    findings: [
      {
        kind: end,
        problem: "the process did not survive it",
        seed: Number(values.seed),
        path: null,
        file: lost(reader),
      },
    ],
  };
  reports.push(report);
  for (const { kind, problem, seed, path, file } of report.findings)
    process.stderr.write(`\n${reader}: ${kind} (seed ${seed}, path ${path}), kept as ${file}\n${problem}\n`);
}
for (const folder of [scratch, OUT]) rmSync(folder, { recursive: true, force: true });

/** @param {string} reader whose process ended over an input @returns {string} where that is kept now */
function lost(reader) {
  const folder = join(ROOT, "test/fuzz/corpus", reader);
  const file = join(folder, `lost-${values.seed}`);
  mkdirSync(folder, { recursive: true });
  if (existsSync(input)) copyFileSync(input, file);
  return file;
}

const rows = reports.map(({ reader, runs, refused, accepted, slowest, peak, findings }) => [
  ...[reader, runs, refused, accepted, slowest.toFixed(0), (peak / 2 ** 20).toFixed(0), findings.length].map(String),
]);
const table = [["reader", "runs", "refused", "accepted", "slowest ms", "peak MiB", "findings"], ...rows];
const widths = (table[0] ?? []).map((_, i) => Math.max(...table.map((row) => (row[i] ?? "").length)));
process.stdout.write(`seed ${values.seed}; slowest and peak are those of refused inputs, beyond the process itself\n`);
for (const row of table)
  process.stdout.write(
    `${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  ")}\n`,
  );
process.exitCode = reports.some(({ findings }) => findings.length > 0) ? 1 : 0;
