/** `ddim bench export`: the network as an ONNX file, for other engines. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { type BenchParts, loadBenchParts } from "../benchParts.ts";
import { addCommonFlags, MODEL_FLAGS, type OutputFlags, whole } from "../flags.ts";
import { type Io, Terminal } from "../io.ts";

type ExportFlags = Parameters<BenchParts["exportOnnx"]>[1] & Pick<OutputFlags, "quiet" | "verbose">;

export function addBenchExport(bench: Command, io: Io): void {
  const command = bench
    .command("export")
    .summary("write the network as an ONNX file")
    .description(
      "Writes the network of a model for other engines (ONNX, opset 21, N x C x H x W): inputs sample, timestep and, " +
        "where the network takes them, class_labels, encoder_hidden_states, text_embeds, time_ids; output output. " +
        "Replaces the file if it exists. Needs a checkout.",
    )
    .requiredOption("-o, --output <file>", "file to write")
    .addOption(
      new Option("--style <style>", "GroupNorm as PyTorch's exporter writes it, or as one operation")
        .choices(["expanded", "native"])
        .default("expanded"),
    )
    .option("--size <n|HxW>", "height and width of the images (default: the model's)", size)
    .option("--batch <n|any>", "images per evaluation, or left open", batch, 1)
    .option(
      "--context-length <n>",
      "tokens that a conditional network attends to (default: 77; 1 for classes)",
      whole(1),
    )
    .option("--external-data", "weights in a file of their own beside it, as it is for more than 1 GiB")
    .addHelpText("after", "\nExample:\n  $ ddim bench export -m crawl-tiles-32 -o model.onnx --style native --batch 4");
  addCommonFlags(command, [...MODEL_FLAGS, "dtype", "quiet", "verbose"]);
  command.action(async (flags: ExportFlags) => (await loadBenchParts()).exportOnnx(new Terminal(io, flags), flags));
}

function size(text: string): ExportFlags["size"] {
  const [, height, width] = /^(\d+)(?:x(\d+))?$/.exec(text) ?? [];
  if (!height) throw new InvalidArgumentError("expected a side such as 64, or height and width such as 48x64");
  return { height: Number(height), width: Number(width ?? height) };
}

const batch = (text: string): ExportFlags["batch"] => (text === "any" ? text : whole(1)(text));
