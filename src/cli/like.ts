/**
 * `ddim sample --like PICTURE`: the flags that made a picture, in place of those that are not given. They come from a file
 * that anybody may have written, so they are those of a plain command alone, read by the flags' own parsers, and nothing
 * is fetched over a network because a picture says so.
 */
import type { Command } from "commander";
import { type GenerationParameters, parseParameters } from "../image/parameters.ts";
import { placeOfModel } from "../node/modelName.ts";
import { FileError, UsageError } from "../runtime/errors.ts";
import { commandIn } from "./inspect/command.ts";
import { readHeader } from "./inspect/picture.ts";
import type { Terminal } from "./io.ts";
import type { PlainFlag } from "./plainCommand.ts";
import type { SampleFlags } from "./sampleFlags.ts";

type Name = keyof SampleFlags & string;

/** What says nothing about the images, or goes on from another file. */
const PASSED_OVER: ReadonlySet<string> = new Set<Name>([
  "output",
  "quiet",
  "verbose",
  "json",
  "device",
  "resume",
  "like",
]);

/** Flags that the picture's do not go together with, where they are typed. */
const INSTEAD: Partial<Record<Name, readonly Name[]>> = {
  ...{ steps: ["timesteps"], spacing: ["timesteps"], timesteps: ["steps", "spacing", "sweep"] },
  ...{ timestepBase: ["steps", "spacing", "timesteps"], clip: ["threshold"], threshold: ["clip"] },
  ...{ config: ["model"], weights: ["model"], variant: ["model"], randomWeights: ["model"] },
  ...{ count: ["noise", "sweep"], size: ["noise"], grid: ["sweep"], antithetic: ["sweep"] },
};

const FILES: ReadonlySet<string> = new Set<Name>(["model", "config", "noise", "context", "concat"]);

/** Guidance has to be there for these. */
const GUIDED: ReadonlySet<string> = new Set<Name>(["guidanceInterval", "guidanceRescale", "negativeClass"]);

/** Addresses, and Windows' names of other machines. */
const ELSEWHERE = /^[a-z][a-z\d+.-]+:[\\/]{2}|^[\\/]{2}/i;

/** Whether a model would be fetched; one that the package knows by its name may be. */
const isAway = (model: string) => placeOfModel(model).kind !== "disk" && /[\\/]/.test(model);

/** @throws UsageError for what would be looked for on another machine */
function checkPlace(picture: string, { option, value = "" }: PlainFlag): void {
  const name = option.attributeName();
  if (!FILES.has(name)) return;
  if (ELSEWHERE.test(value) || (name === "model" && isAway(value)))
    throw new UsageError(
      "like",
      `--like ${picture}: it names ${option.long} ${value}, which is not on this machine or asks another one; type ${option.long} yourself`,
    );
}

/** Whether a flag of the picture's is taken over: flags that are typed win. */
function isKept(command: Command, { option, words }: PlainFlag): boolean {
  const name = option.attributeName() as Name;
  const typed = (flag: Name) => command.getOptionValueSource(flag) === "cli";
  if (words.length === 0 || PASSED_OVER.has(name) || typed(name) || INSTEAD[name]?.some(typed)) return false;
  const { guidance, output } = command.opts<SampleFlags>();
  if (GUIDED.has(name)) return !typed("guidance") || [guidance].flat().some((w) => w !== 1);
  if (name === "grid") return /\.png$/i.test(output) && !/%\d*d/.test(output);
  return name !== "scale" || !/\.safetensors$/i.test(output);
}

function set(command: Command, name: Name, value: unknown): void {
  if (command.getOptionValueSource(name) !== "cli") command.setOptionValueWithSource(name, value, "picture");
}

/**
 * Sets what is not typed of a command's flags to what made a picture.
 * @returns what the picture says of itself, where it says more than a command
 * @throws FileError for a picture without a command of ours; UsageError where that is another, or needs what it may not
 */
export async function takeAfter(
  terminal: Terminal,
  command: Command,
  picture: string,
): Promise<GenerationParameters | undefined> {
  const { text, width } = await readHeader(picture);
  const parameters = parseParameters(text, picture);
  const recorded = parameters?.command ?? text.command;
  const made = commandIn(command.parent as Command, recorded, parameters);
  if (!made) throw new FileError(picture, "does not say how ddim made it, so it cannot be made again");
  if (made.command !== command)
    throw new UsageError(
      "like",
      `--like ${picture}: it was made by another command than ${command.name()}; this makes it again: ${made.text}`,
    );
  const kept = made.flags.filter((flag) => isKept(command, flag));
  for (const flag of kept) checkPlace(picture, flag);
  const together = kept.find(({ option, value }) => option.attributeName() === "noise" || value === "torch-batch");
  if (made.image !== undefined && together)
    throw new UsageError(
      "like",
      `--like ${picture}: it is image ${made.image} of a run whose images start together (${together.words.join(" ")}); ` +
        `this makes them all: ${made.text}`,
    );
  for (const { option, value } of kept) {
    const name = option.attributeName() as Name;
    if (made.image !== undefined && (name === "grid" || name === "sweep")) continue;
    const parsed = value === undefined ? !option.negate : (option.parseArg?.(value, undefined as never) ?? value);
    set(command, name, parsed);
  }
  if (made.image !== undefined) {
    set(command, "firstImage", made.image);
    set(command, "count", 1);
    const scale = parameters ? width / parameters.size.width : 1;
    const { output } = command.opts<SampleFlags>();
    if (Number.isInteger(scale) && !/\.safetensors$/i.test(output)) set(command, "scale", scale);
  }
  terminal.note(`${picture} was made by: ${made.text}`);
  return parameters;
}
