/** `--taps`: the outputs of a network's modules in a file of their own. */
import type { Command } from "commander";
import type { Tensor } from "../pipeline/types.ts";
import { listed } from "../runtime/printable.ts";
import { encodeSafetensors } from "../weights/encode.ts";
import type { Terminal } from "./io.ts";
import { writeFile } from "./output.ts";
import { TAP, tapNames } from "./tensorFiles.ts";

export interface TapsFlags {
  input: string;
  taps?: string;
}

export function addTapsFlag(command: Command): Command {
  return command.option("--taps <file>", "also write the outputs of modules: those under taps/ in the input, or all");
}

/**
 * Writes the outputs of modules under the names that the input has them by.
 * @param evaluate the outputs of some modules, or of all, by their paths in the checkpoint
 */
export async function writeTaps(
  terminal: Terminal,
  { input, taps: path }: TapsFlags,
  evaluate: (modules?: readonly string[]) => Promise<Readonly<Record<string, Tensor>>>,
): Promise<void> {
  if (path === undefined) return;
  const wanted = await tapNames(input, terminal.io.signal);
  const taps = await evaluate(wanted.length > 0 ? wanted : undefined);
  const tensors = Object.entries(taps).map(([name, tensor]) => [`${TAP}${name}`, tensor] as const);
  writeFile(path, encodeSafetensors(Object.fromEntries(tensors)));
  terminal.note(`${path}: the outputs of ${tensors.length} modules`);
  const missing = wanted.filter((name) => !(name in taps));
  if (missing.length > 0) terminal.warn([`${path}: the network has no ${listed(missing)}`]);
}
