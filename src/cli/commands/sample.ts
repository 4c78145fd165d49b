/** `ddim sample`: noise becomes images. Everything that can be wrong is found out before a device is opened. */

import type { Command } from "commander";
import type { Model } from "../../pipeline/model.ts";
import { modelId } from "../../pipeline/modelId.ts";
import { type ResolvedRun, resolveRun } from "../../pipeline/run.ts";
import type { Generation } from "../../pipeline/types.ts";
import { UsageError } from "../../runtime/errors.ts";
import { batchSize } from "../flags.ts";
import { checkOutput, type ImageOutput, madeText, readOutput, scaleOf } from "../imageOutput.ts";
import { type Io, Terminal } from "../io.ts";
import { takeAfter } from "../like.ts";
import { openFlaggedModel } from "../modelFlag.ts";
import { once } from "../once.ts";
import { checkFile, checkFolder, fileFailure } from "../output.ts";
import { madeBefore } from "../pictureFiles.ts";
import { parametersOf, runFacts } from "../provenance.ts";
import { addSampleFlags, type SampleFlags } from "../sampleFlags.ts";
import { generateOptions } from "../sampleOptions.ts";
import { runSample, type SamplePlan } from "../sampleRun.ts";
import { type Session, withPipeline } from "../session.ts";
import { sweep } from "../sweep.ts";
import { bytes, plural } from "../table.ts";
import { reportTimings, wantsTimings } from "../timings.ts";
import { unfinished } from "../unfinished.ts";

export function addSample(program: Command, io: Io): void {
  const command = program
    .command("sample")
    .summary("noise to images")
    .description("Samples images from a model.")
    .addHelpText(
      "after",
      "\nExamples:\n  $ ddim sample -n 16 --grid --seed 7 -o faces.png\n" +
        "  $ ddim sample -m crawl-tiles-32 -n 8 -c monster --guidance 2 -o 'monster-%03d.png'\n" +
        "  $ ddim sample --like monster-003.png -S 100 -o slower.png",
    );
  addSampleFlags(command).action(async (flags: SampleFlags) => {
    const { like } = flags;
    const after = like === undefined ? undefined : await takeAfter(new Terminal(io, flags), command, like);
    const known = command.getOptionValueSource("model") === "cli" ? undefined : after?.modelHash;
    return flags.sweep ? sweep(flags, io) : sample(flags, io, known);
  });
}

/** @param known what a picture that is to be made again says of its model's bytes */
async function sample(flags: SampleFlags, io: Io, known?: string): Promise<void> {
  const terminal = new Terminal(io, flags);
  const plan = await prepare(terminal, flags);
  terminal.warn(plan.run.warnings);
  const images = Math.min(plan.run.count, batchSize(flags.batch) ?? plan.run.count);
  const { width, height } = plan.run.picture;
  await withPipeline(terminal, flags, { model: plan.model, load: { images, height, width } }, async (session) => {
    const { pipeline } = session;
    const timed = wantsTimings(flags, pipeline.device);
    // Tensors are hashed while they are loaded, so what is written last costs least.
    const recorded = once(async () => {
      const { width, height, contexts } = plan.run;
      const state = { width, height, contextLength: contexts?.length };
      return parametersOf(flags, plan.run, await runFacts(session, flags, state, io.signal));
    });
    const timing = { ...plan, options: { ...plan.options, profile: timed } };
    const { made, failures } = await runSample(timing, flags, session, terminal, recorded);
    session.progress.stop();
    const { model, modelHash } = await recorded();
    // Versions up to 0.1.0 wrote a shorter one.
    if (known !== undefined && known.length === modelHash?.length && known !== modelHash)
      terminal.warn([`${flags.like} was made with other weights than those of ${model}, so its images differ`]);
    const untraced = await fileFailure(() => made.timings && reportTimings(terminal, flags, made.timings));
    report(terminal, plan, flags, made, session);
    const [missing, ...more] = untraced ? [...failures, untraced] : failures;
    if (missing) throw unfinished(missing, ...more.map(({ message }) => message), "the images are written");
  });
}

/** Reads and checks everything that the flags name. */
async function prepare(terminal: Terminal, flags: SampleFlags): Promise<SamplePlan> {
  const { signal } = terminal.io;
  const model = await openFlaggedModel(terminal, flags);
  const asked = await generateOptions(flags, { model, terminal });
  const run = resolveRun(model, asked);
  const output = readOutput(flags.output, run.count, run.firstImage);
  const made = flags.resume === undefined || flags.overwrite ? [] : await leftBy(model, run, output, flags, signal);
  checkOutput(output, flags.overwrite === true, made);
  if (output.form !== "picture" && flags.grid)
    throw new UsageError("grid", `--grid makes one picture: -o ${flags.output} has to end in .png, without a number`);
  if (output.form === "tensors" && flags.scale !== undefined)
    throw new UsageError("scale", "--scale enlarges PNG files, safetensors hold the images as they are");
  if (flags.saveSteps !== undefined) checkFolder(flags.saveSteps);
  if (flags.trace !== undefined) checkFile(flags.trace, flags.overwrite === true);
  if (flags.saveState !== undefined) checkFile(flags.saveState, true);
  return {
    model,
    options: { ...asked, seed: run.seed },
    run,
    output,
    made,
    scale: scaleOf(output, flags.scale, run.picture),
  };
}

/** Files of a run that is resumed which it had written before. */
function leftBy(model: Model, run: ResolvedRun, output: ImageOutput, flags: SampleFlags, signal: AbortSignal) {
  const modelHash = once(() => modelId(model, signal));
  const dtype = flags.dtype === "f16" ? "f16" : "f32";
  const { command } = parametersOf(flags, run, { model: model.name, dtype });
  return madeBefore(output, { command, firstImage: run.firstImage, modelHash });
}

function report(
  terminal: Terminal,
  { run, output }: SamplePlan,
  flags: SampleFlags,
  made: Generation,
  session: Session,
): void {
  const { ms, steps, peakBytes } = made;
  terminal.done(madeText(output.paths, run.count, run.picture));
  // Compiling happens once however many images there are, so it is no part of the rate.
  const rate = (run.count * 1000) / (ms.total - ms.compile);
  terminal.say(
    `seed ${run.seed}, ${plural(steps, "step")}, ${ms.perStep.toFixed(1)} ms per step, ${rate.toFixed(2)} images/s, ` +
      `peak ${bytes(peakBytes)} of GPU memory`,
  );
  if (flags.json)
    terminal.json({
      seed: run.seed,
      steps,
      images: output.paths,
      ms_total: ms.total,
      ms_per_step: ms.perStep,
      ms_load: session.loadMs,
      ms_compile: session.compileMs + ms.compile,
      peak_gpu_bytes: peakBytes,
      adapter: session.pipeline.device.name,
      warnings: run.warnings,
    });
}
