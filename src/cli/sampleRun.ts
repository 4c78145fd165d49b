/** A run of `ddim sample` on the device, and the files that it writes on its way. */
import { join } from "node:path";
import { formatParameters, type GenerationParameters } from "../image/parameters.ts";
import { encodePng } from "../image/png.ts";
import { enlarge } from "../image/rgba.ts";
import type { Model } from "../pipeline/model.ts";
import type { ResolvedRun } from "../pipeline/run.ts";
import type { GenerateOptions, Generation, Step } from "../pipeline/types.ts";
import type { FileError } from "../runtime/errors.ts";
import { encodeSafetensors } from "../weights/encode.ts";
import type { ImageOutput } from "./imageOutput.ts";
import type { Terminal } from "./io.ts";
import { fileFailure, makeFolder, writeFile } from "./output.ts";
import { PictureFiles } from "./pictureFiles.ts";
import { marked } from "./provenance.ts";
import type { SampleFlags } from "./sampleFlags.ts";
import type { Session } from "./session.ts";
import { sheet } from "./sheet.ts";
import { StateKeeper } from "./stateFile.ts";
import { unfinished } from "./unfinished.ts";

/** What flags mean for a model. */
export interface SamplePlan {
  readonly model: Model;
  readonly options: GenerateOptions;
  readonly run: ResolvedRun;
  readonly output: ImageOutput;
  /** Files of images that an earlier part of the run has written. */
  readonly made: readonly string[];
  readonly scale: number;
}

interface SampleResult {
  readonly made: Generation;
  /** Why files beside the images are not there, or not as they should be. */
  readonly failures: readonly FileError[];
}

/**
 * Takes all steps and writes the images, of which those that are finished stay whatever happens.
 * @param recorded what the files say of themselves
 * @throws Unfinished where something is there of it
 */
export async function runSample(
  plan: SamplePlan,
  flags: SampleFlags,
  { pipeline, progress }: Session,
  terminal: Terminal,
  recorded: () => Promise<GenerationParameters>,
): Promise<SampleResult> {
  const { run, output, scale } = plan;
  const { signal } = terminal.io;
  const warn = (text: string) => terminal.warn([text]);
  const texts = async (part: string) => formatParameters(marked(await recorded(), part));
  const encode = async (image: Parameters<typeof enlarge>[0], i: number) =>
    encodePng(enlarge(image, scale), await texts(`image ${run.firstImage + i}`));
  const files = new PictureFiles(output, encode, plan.made);
  const keep = flags.saveState === undefined ? undefined : new StateKeeper(flags.saveState, signal, warn);
  const previews = flags.saveSteps === undefined ? undefined : new StepFiles(flags.saveSteps, plan, texts, warn);
  const show = shower(run, progress);
  try {
    progress.show("first step");
    const steps = pipeline.steps({
      ...plan.options,
      signal: keep?.signal ?? signal,
      onBatch: ({ first, images }) => files.write(first, images),
    });
    for await (const step of steps) {
      show(step);
      // Meanwhile, so that a batch does not wait for it; who needs it hears of what goes wrong.
      recorded().catch(() => {});
      await keep?.step(step);
      await previews?.step(step);
    }
    signal.throwIfAborted();
    if (output.form !== "files") await writeWhole(plan, steps.result, await recorded(), flags);
    const failures = [keep?.failure, previews?.failure].filter((failure) => failure !== undefined);
    return { made: steps.result, failures };
  } catch (error) {
    throw unfinished(error, files.kept, keep?.kept);
  }
}

function shower({ count }: ResolvedRun, progress: Session["progress"]): (step: Step) => void {
  let batch = 0;
  return ({ index, of, image, images }) => {
    // The first batch is a full one.
    batch ||= images;
    progress.show("steps", (image / batch) * of + index + 1, Math.ceil(count / batch) * of);
  };
}

/** The estimate of x0 after every step, a file each, up to the first that cannot be written. */
class StepFiles {
  failure: FileError | undefined;

  constructor(
    private readonly folder: string,
    private readonly plan: Pick<SamplePlan, "run" | "scale">,
    private readonly texts: (part: string) => Promise<Record<string, string>>,
    private readonly warn: (text: string) => void,
  ) {
    makeFolder(folder);
  }

  async step(step: Step): Promise<void> {
    if (this.failure) return;
    const { run, scale } = this.plan;
    const first = run.firstImage + step.image;
    const whole = step.images === run.count;
    const part = whole ? "" : `image-${String(first).padStart(4, "0")}-`;
    const name = `${part}step-${String(step.index).padStart(4, "0")}.png`;
    const preview = await step.preview();
    // Latents are smaller than their pictures.
    const factor = (scale * run.picture.width) / run.width;
    const texts = await this.texts(`${whole ? "" : `images from ${first}, `}step ${step.index}`);
    const file = await encodePng(sheet(preview, factor), texts);
    this.failure = await fileFailure(() => writeFile(join(this.folder, name), file));
    if (this.failure) this.warn(`${this.failure.message}; the run goes on, without this file and those of later steps`);
  }
}

/** All images in one file. */
async function writeWhole(
  { output, run, scale }: SamplePlan,
  { images, samples, latents }: Generation,
  parameters: GenerationParameters,
  { grid }: SampleFlags,
): Promise<void> {
  const [path = ""] = output.paths;
  const texts = formatParameters(parameters);
  if (output.form === "picture") {
    const picture = sheet(images, scale, grid && run.classes ? run.classes : undefined);
    return writeFile(path, await encodePng(picture, texts));
  }
  writeFile(path, encodeSafetensors({ images: samples, ...(latents ? { latents } : {}) }, texts));
}
