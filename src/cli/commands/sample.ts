/** `ddim sample`: noise becomes images. Everything that can be wrong is found out before a device is opened. */

import { join } from "node:path";
import type { Command } from "commander";
import { formatParameters, type GenerationParameters } from "../../image/parameters.ts";
import { encodePng } from "../../image/png.ts";
import { enlarge } from "../../image/rgba.ts";
import type { Model } from "../../pipeline/model.ts";
import { type ResolvedRun, resolveRun } from "../../pipeline/run.ts";
import type { GenerateOptions, Generation, Step, Tensor } from "../../pipeline/types.ts";
import { UsageError } from "../../runtime/errors.ts";
import { encodeSafetensors } from "../../weights/encode.ts";
import { batchSize } from "../flags.ts";
import { type ImageOutput, madeText, planOutput, prepareFolder, scaleOf } from "../imageOutput.ts";
import { type Io, Terminal } from "../io.ts";
import { takeAfter } from "../like.ts";
import { openFlaggedModel } from "../modelFlag.ts";
import { checkFile, checkFolder, makeFolder, writeFile } from "../output.ts";
import { marked, parametersOf, runFacts } from "../provenance.ts";
import { addSampleFlags, type SampleFlags } from "../sampleFlags.ts";
import { generateOptions } from "../sampleOptions.ts";
import { type Session, withPipeline } from "../session.ts";
import { sheet } from "../sheet.ts";
import { StateKeeper } from "../stateFile.ts";
import { sweep } from "../sweep.ts";
import { bytes, plural } from "../table.ts";
import { reportTimings, wantsTimings } from "../timings.ts";

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

interface Plan {
  model: Model;
  options: GenerateOptions;
  run: ResolvedRun;
  output: ImageOutput;
  scale: number;
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
    let parameters: Promise<GenerationParameters> | undefined;
    const recorded = () => {
      const { width, height, contexts } = plan.run;
      const state = { width, height, contextLength: contexts?.length };
      parameters ??= runFacts(session, flags, state, io.signal).then((facts) => parametersOf(flags, plan.run, facts));
      return parameters;
    };
    const generation = await generate({ ...plan.options, profile: timed }, plan, flags, session, recorded);
    io.signal.throwIfAborted();
    await writeImages(plan, generation, await recorded(), flags);
    session.progress.stop();
    const { model, modelHash } = await recorded();
    // Versions up to 0.1.0 wrote a shorter one.
    if (known !== undefined && known.length === modelHash?.length && known !== modelHash)
      terminal.warn([`${flags.like} was made with other weights than those of ${model}, so its images differ`]);
    if (generation.timings) reportTimings(terminal, flags, generation.timings);
    report(terminal, plan, flags, generation, session);
  });
}

/** Reads and checks everything that the flags name. */
async function prepare(terminal: Terminal, flags: SampleFlags): Promise<Plan> {
  const { signal } = terminal.io;
  const model = await openFlaggedModel(terminal, flags);
  const asked = await generateOptions(flags, model, signal);
  const run = resolveRun(model, asked);
  const output = planOutput(flags.output, run.count, flags.overwrite === true, run.firstImage);
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
    scale: scaleOf(output, flags.scale, run.picture),
  };
}

async function generate(
  options: GenerateOptions,
  { run, scale }: Plan,
  { saveSteps, saveState }: SampleFlags,
  { pipeline, progress }: Session,
  recorded: () => Promise<GenerationParameters>,
): Promise<Generation> {
  let batch = 0;
  const show = ({ index, of, image, images }: Step) => {
    // The first batch is a full one.
    batch ||= images;
    progress.show("steps", (image / batch) * of + index + 1, Math.ceil(run.count / batch) * of);
  };
  if (saveSteps !== undefined) makeFolder(saveSteps);
  const keep = saveState === undefined ? undefined : new StateKeeper(saveState);
  progress.show("first step");
  const steps = pipeline.steps(options);
  for await (const step of steps) {
    show(step);
    await keep?.step(step, options.signal);
    if (saveSteps === undefined) continue;
    const first = run.firstImage + step.image;
    const whole = step.images === run.count;
    const part = whole ? "" : `image-${String(first).padStart(4, "0")}-`;
    const name = `${part}step-${String(step.index).padStart(4, "0")}.png`;
    const preview = await step.preview();
    // Latents are smaller than their pictures.
    const factor = (scale * run.picture.width) / run.width;
    const own = marked(await recorded(), `${whole ? "" : `images from ${first}, `}step ${step.index}`);
    writeFile(join(saveSteps, name), await encodePng(sheet(preview, factor), formatParameters(own)));
  }
  return steps.result;
}

async function writeImages(
  { output, run, scale }: Plan,
  { images, samples, latents }: Generation,
  parameters: GenerationParameters,
  { grid }: SampleFlags,
): Promise<void> {
  const [path = ""] = output.paths;
  prepareFolder(output);
  if (output.form === "tensors") {
    const tensor = (t: Tensor) => ({ dtype: "F32", ...t }) as const;
    const tensors = { images: tensor(samples), ...(latents ? { latents: tensor(latents) } : {}) };
    return writeFile(path, encodeSafetensors(tensors, formatParameters(parameters)));
  }
  if (output.form === "picture") {
    const picture = sheet(images, scale, grid && run.classes ? run.classes : undefined);
    return writeFile(path, await encodePng(picture, formatParameters(parameters)));
  }
  for (const [i, image] of images.entries()) {
    const own = marked(parameters, `image ${run.firstImage + i}`);
    writeFile(output.paths[i]!, await encodePng(enlarge(image, scale), formatParameters(own)));
  }
}

function report(
  terminal: Terminal,
  { run, output }: Plan,
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
