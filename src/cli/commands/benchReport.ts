/** `ddim bench report` and `ddim bench compare`: what is made of the files that `ddim bench` leaves behind. */
import type { Command } from "commander";
import { type BenchParts, loadBenchParts } from "../benchParts.ts";
import { addCommonFlags, OUTPUT_FLAGS, type OutputFlags } from "../flags.ts";
import { type Io, Terminal } from "../io.ts";

type ReportFlags = OutputFlags & Parameters<BenchParts["benchReport"]>[2];

export function addBenchReport(bench: Command, io: Io): void {
  const report = bench
    .command("report")
    .summary("show the results of a run")
    .description("Shows a file of bench/results: as Markdown, or as a page with charts. Needs a checkout.")
    .argument("<results>", "a file that `ddim bench` has written")
    .option("--html <file>", "write a page with charts, all in one file")
    .option("--markdown <file>", "write a Markdown page")
    .addHelpText(
      "after",
      "\nExample:\n  $ ddim bench report bench/results/2026-11-21-llvmpipe.json --html report.html",
    );
  addCommonFlags(report, OUTPUT_FLAGS);
  report.action(async (file: string, flags: ReportFlags) =>
    (await loadBenchParts()).benchReport(new Terminal(io, flags), file, flags),
  );
  const compare = bench
    .command("compare")
    .summary("what has moved between two runs")
    .description("Compares two files of bench/results: what is faster or slower beyond the noise. Needs a checkout.")
    .argument("<before>", "a file that `ddim bench` has written")
    .argument("<after>", "another")
    .addHelpText("after", "\nExample:\n  $ ddim bench compare bench/results/before.json bench/results/after.json");
  addCommonFlags(compare, OUTPUT_FLAGS);
  compare.action(async (before: string, after: string, flags: OutputFlags) =>
    (await loadBenchParts()).benchCompare(new Terminal(io, flags), before, after, flags),
  );
}
