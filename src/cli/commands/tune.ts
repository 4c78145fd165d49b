/** `ddim tune`: which methods are quickest on this adapter, measured once and remembered. */
import type { Command } from "commander";
import { readTable, tuningFile, tuningFolder } from "../../node/tuningFolder.ts";
import { tuneModel } from "../../pipeline/tuning.ts";
import { formatTuning, parseTuning, type TuningTable, tuningHash, tuningScope } from "../../pipeline/tuningTable.ts";
import { FileError, UsageError } from "../../runtime/errors.ts";
import { addCommonFlags, cacheOf, LOAD_FLAGS, type LoadFlags } from "../flags.ts";
import { type Io, Terminal } from "../io.ts";
import { openFlaggedModel } from "../modelFlag.ts";
import { checkFile, writeFile } from "../output.ts";
import { pathKind } from "../paths.ts";
import { openProgress } from "../progress.ts";
import { plural, table } from "../table.ts";

interface TuneFlags extends LoadFlags {
  export?: string;
  import?: string;
}

export function addTune(program: Command, io: Io): void {
  const command = program
    .command("tune")
    .summary("measure which methods are quickest on this machine")
    .description(
      "Measures every method of every shape in a model's network, a second or so each, and remembers the quickest: other " +
        "commands then use them on this adapter. Another method rounds differently, so pictures change in their last digits; " +
        "they record a hash of the choices. A damaged table is passed over with a warning, and replaced by this command. Without " +
        "it methods are chosen by size, which is good.",
    )
    .option("--import <file>", "take a table from this file first, and measure only what it lacks")
    .option("--export <file>", "also write the table to this file, replacing it")
    .addHelpText("after", "\nExample:\n  $ ddim tune -m crawl-tiles-32 --export methods.json");
  addCommonFlags(command, LOAD_FLAGS);
  command.action((flags: TuneFlags) => tune(flags, io));
}

async function tune(flags: TuneFlags, io: Io): Promise<void> {
  const terminal = new Terminal(io, flags);
  const folder = cacheOf(flags, io.env);
  if (folder === undefined && flags.export === undefined)
    throw new UsageError("cache", "there is no folder to remember in: give --cache DIR, or --export FILE");
  // Measuring takes long, and would be lost.
  if (folder !== undefined && pathKind(folder) === "file") throw new FileError(folder, "is not a folder");
  const model = await openFlaggedModel(terminal, flags, { firstStage: false });
  if (flags.export !== undefined) checkFile(flags.export, true);
  const given = flags.import === undefined ? undefined : await readTable(flags.import);
  const progress = await openProgress(terminal);
  const device = await io.openDevice({ adapter: flags.device });
  try {
    const scope = await tuningScope(device);
    const warn = (text: string) => terminal.warn([text]);
    const store = folder === undefined ? undefined : tuningFolder(folder, warn);
    const imported = given === undefined ? undefined : parseTuning(given, flags.import as string, scope, warn);
    const kept = await store?.load(scope);
    const measured = await tuneModel(model, device, {
      dtype: flags.dtype === "f16" ? "f16" : "f32",
      precision: flags.precision,
      known: imported,
      signal: io.signal,
      onProgress: (done, of) => progress.show("measuring", done, of),
    });
    progress.stop();
    io.signal.throwIfAborted();
    // What other models taught stays.
    const all: TuningTable = { ...scope, entries: { ...kept?.entries, ...measured.entries } };
    await store?.save(all);
    if (flags.export !== undefined) writeFile(flags.export, formatTuning(all));
    const file = folder === undefined ? flags.export : tuningFile(folder, scope);
    if (flags.json) terminal.json({ file, hash: await tuningHash(all), ...all });
    else print(terminal, measured);
    terminal.done(
      `${file}: ${plural(Object.keys(measured.entries).length, "shape")} of this model on ${measured.adapter}`,
    );
  } finally {
    progress.stop();
    device.dispose();
  }
}

function print(terminal: Terminal, { adapter, entries }: TuningTable): void {
  const cells = Object.entries(entries).map(([key, { method, ms }]) => {
    const times = Object.entries(ms).sort(([, a], [, b]) => a - b);
    return [key, method, times.map(([name, value]) => `${name} ${value.toFixed(3)} ms`).join(", ")];
  });
  if (cells.length === 0) terminal.data(`${adapter}: nothing to choose, every operation has one method here`);
  else terminal.data(table(["one image", "method", "measured"], cells));
}
