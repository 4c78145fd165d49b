// `npm run torture -- [--seed N] [--only NAME] [--tries N] [--from N]`: what may happen to long runs, by chance and many times
// (test/torture), each kind in a process of its own; a table at the end. The same seed makes the same tries, which end at the same
// places as far as time allows.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const SECTIONS = ["kills", "disks", "losses", "aborts", "calls", "callbacks", "soak"];

/** @param {string} problem @returns {never} */
function refuse(problem) {
  process.stderr.write(`torture: ${problem}\n`);
  process.exit(2);
}

/** @returns what was typed, or ends with a sentence */
function typed() {
  try {
    return parseArgs({
      options: {
        seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
        only: { type: "string", multiple: true },
        tries: { type: "string" },
        from: { type: "string", default: "0" },
      },
    }).values;
  } catch (error) {
    return refuse(/** @type {Error} */ (error).message);
  }
}

const values = typed();
for (const name of /** @type {const} */ (["seed", "tries", "from"]))
  if (!/^\d{1,12}$/.test(values[name] ?? "0")) refuse(`--${name} must be a whole number, not ${values[name]}`);
const unknown = values.only?.find((name) => !SECTIONS.includes(name));
if (unknown !== undefined) refuse(`there is no ${unknown}: ${SECTIONS.join(", ")}`);

/** @typedef {import("../test/torture/harness.ts").Report} Report */

const scratch = mkdtempSync(join(tmpdir(), "ddim-torture-reports-"));
const rows = [["", "tries", "cut short", "resumed", "findings", "seconds", ""]];
let found = 0;
process.stdout.write(`seed ${values.seed}\n`);
for (const name of values.only ?? SECTIONS) {
  const report = join(scratch, `${name}.json`);
  const asked = {
    seed: Number(values.seed),
    from: Number(values.from),
    tries: values.tries && Number(values.tries),
    report,
  };
  const args = ["node_modules/vitest/vitest.mjs", "run", "test/torture", "-t", `^${name}: `, "--reporter=dot"];
  const env = { ...process.env, DDIM_TORTURE: JSON.stringify(asked) };
  const { stdout, status, signal } = spawnSync(process.execPath, args, {
    cwd: ROOT,
    env,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 2 ** 28,
  });
  if (!existsSync(report)) {
    // Skipped, which it has said, or gone with its process.
    const isSkipped = status === 0;
    if (!isSkipped) process.stdout.write(`${name} ends with ${signal ?? status}:\n${stdout}\n`);
    found += Number(!isSkipped);
    rows.push([name, ...Array(5).fill("-"), isSkipped ? "skipped" : "the process did not survive it"]);
    continue;
  }
  /** @type {Report} */
  const { tries, cut, resumed, findings, seconds, note, what } = JSON.parse(readFileSync(report, "utf8"));
  for (const { at, problem } of findings) {
    const again =
      at === "end" ? "" : `; again: npm run torture -- --seed ${values.seed} --only ${name} --from ${at} --tries 1`;
    process.stdout.write(`\n${name}, ${at === "end" ? "at the end" : `try ${at}`}: ${problem}${again}\n`);
  }
  found += findings.length;
  const counts = [tries, cut, resumed, findings.length, Math.round(seconds)].map(String);
  rows.push([name, ...counts, note ? `${what}; ${note}` : what]);
}
rmSync(scratch, { recursive: true, force: true });

const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => (row[i] ?? "").length)));
for (const row of rows)
  process.stdout.write(
    `${row.map((cell, i) => (i > 0 && i < row.length - 1 ? cell.padStart(widths[i] ?? 0) : cell.padEnd(i ? 0 : (widths[0] ?? 0)))).join("  ")}\n`,
  );
process.exitCode = found > 0 ? 1 : 0;
