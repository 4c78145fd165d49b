/** `ddim forward`: one evaluation of a network, file in, file out, for comparing with other implementations. */
import type { Command } from "commander";
import { UsageError } from "../../runtime/errors.ts";
import { encodeSafetensors } from "../../weights/encode.ts";
import { ALL_FLAGS, addCommonFlags, addTraceFlag, type CommonFlags, refuseFlags, type TraceFlag } from "../flags.ts";
import { firstStageComponents, forwardFirstStage, isFirstStage } from "../forwardFirstStage.ts";
import { type Io, Terminal } from "../io.ts";
import { openFlaggedModel } from "../modelFlag.ts";
import { checkFile, writeFile } from "../output.ts";
import { withPipeline } from "../session.ts";
import { loadOf } from "../software/threads.ts";
import { addTapsFlag, type TapsFlags, writeTaps } from "../tapsFlag.ts";
import { readForwardInputs } from "../tensorFiles.ts";
import { reportTimings, wantsTimings } from "../timings.ts";

interface ForwardFlags extends CommonFlags, TraceFlag, TapsFlags {
  component: string;
  output: string;
}

export function addForward(program: Command, io: Io): void {
  const command = program
    .command("forward")
    .summary("one network evaluation, file in, file out")
    .description(
      "Evaluates a network once. Reads sample (N,C,H,W), timestep (N or 1) and, where the network takes them, " +
        "class_labels from a safetensors file; writes output (N,C,H,W, f32), replacing the file if it exists. The halves of " +
        "autoencoders read sample alone, without scaling factors; vae.encode writes mean and logvar.",
    )
    .requiredOption("--input <file>", "safetensors with the inputs")
    .requiredOption("-o, --output <file>", "safetensors to write")
    .option("--component <name>", `part of the model: unet, ${firstStageComponents.join(", ")}`, "unet")
    .addHelpText(
      "after",
      "\nExample:\n  $ ddim forward -m ./model --input in.safetensors -o out.safetensors --dtype f16",
    );
  addTraceFlag(addTapsFlag(command));
  addCommonFlags(command, ALL_FLAGS);
  command.action((flags: ForwardFlags) => forward(flags, command, io));
}

/** Flags that an autoencoder has no use for. */
const OF_UNETS: readonly (keyof ForwardFlags)[] = ["weights", "randomWeights", "cache", "trace"];

async function forward(flags: ForwardFlags, command: Command, io: Io): Promise<void> {
  const terminal = new Terminal(io, flags);
  const { component } = flags;
  if (isFirstStage(component)) {
    refuseFlags(command, OF_UNETS, `--component ${component} is an autoencoder's half`);
    return forwardFirstStage(terminal, component, flags);
  }
  checkComponent(component);
  const model = await openFlaggedModel(terminal, flags, { firstStage: false });
  const inputs = await readForwardInputs(flags.input, model, flags.nonFinite, io.signal);
  checkFile(flags.output, true);
  for (const path of [flags.trace, flags.taps]) if (path !== undefined) checkFile(path, true);
  await withPipeline(terminal, flags, { model, load: loadOf(inputs) }, async ({ pipeline, progress }) => {
    progress.show("evaluating");
    const output = await pipeline.network.forward(inputs, { signal: io.signal });
    progress.stop();
    io.signal.throwIfAborted();
    writeFile(flags.output, encodeSafetensors({ output }));
    const { signal } = io;
    await writeTaps(
      terminal,
      flags,
      async (modules) => (await pipeline.network.taps(inputs, { modules, signal })).taps,
    );
    if (wantsTimings(flags, pipeline.device)) reportTimings(terminal, flags, await pipeline.network.profile(inputs));
    const { name } = pipeline.device;
    if (flags.json)
      terminal.json({ output: flags.output, shape: output.shape, dtype: pipeline.network.dtype, adapter: name });
    terminal.done(
      `${flags.output}: output [${output.shape.join(", ")}], computed in ${pipeline.network.dtype} on ${name}`,
    );
  });
}

function checkComponent(component: string): void {
  if (component === "unet") return;
  const known = ["unet", ...firstStageComponents].join(", ");
  throw new UsageError("component", `--component ${component}: expected one of ${known}`);
}
