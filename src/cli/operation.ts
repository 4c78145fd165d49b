/** What the commands that work on images share: flags, pictures read and fitted, results written. */
import { type Command, Option } from "commander";
import { MAX_PIXELS } from "../image/limits.ts";
import type { GenerationParameters } from "../image/parameters.ts";
import { encodePng } from "../image/png.ts";
import { type Fit, fitImage, fits } from "../image/resize.ts";
import type { RgbaImage } from "../image/rgba.ts";
import { fromRgbaImages } from "../image/samples.ts";
import { readImage } from "../node/image.ts";
import { tokensOf } from "../pipeline/contexts.ts";
import type { Model } from "../pipeline/model.ts";
import { resolveSchedule } from "../pipeline/run.ts";
import { checkSize, pixelScale, scaled } from "../pipeline/size.ts";
import type { GenerateOptions, Generation, Tensor } from "../pipeline/types.ts";
import { UsageError } from "../runtime/errors.ts";
import { encodeSafetensors } from "../weights/encode.ts";
import { byteCount } from "./autoencoder.ts";
import { parseClasses } from "./classFlag.ts";
import {
  addFlags,
  type Batch,
  batch,
  batchSize,
  type DeviceFlags,
  type FlagTable,
  type ModelFlags,
  type NumberFlags,
  number,
  type OutputFlags,
  SAMPLER_FLAGS,
  type SamplerFlags,
  samplerOptions,
  seed,
  whole,
} from "./flags.ts";
import { madeText, scaleOf } from "./imageOutput.ts";
import { type Io, Terminal } from "./io.ts";
import { openFlaggedModel } from "./modelFlag.ts";
import { checkFile, writeFile } from "./output.ts";
import { madeParameters, recordedTexts } from "./provenance.ts";
import type { Session } from "./session.ts";
import { sheet } from "./sheet.ts";
import { readConcat, readContexts } from "./tensorFiles.ts";

/** How pictures are read. */
export interface ReadFlags {
  fit: Fit;
  maxPixels?: number;
}

/** Pictures read, and where the result goes. */
export interface PictureFlags extends ReadFlags {
  output: string;
  overwrite?: true;
  scale?: number;
}

/** How the model runs on them. */
export interface OperationFlags {
  class?: string;
  seed?: bigint;
  batch?: Batch;
  context?: string;
  concat?: string;
  guidance?: number | number[];
  memory?: number;
}

/** Of the way there and back again: DDIM with eta 0, which has no noise and so no seed. */
export const PATH_FLAGS = ["class", "batch", "context", "concat", "memory"] as const satisfies (keyof OperationFlags)[];
const NOISY = ["eta", "sampler", "sigma", "temperature"] as const satisfies (keyof SamplerFlags)[];
export type PathSampler = Exclude<keyof SamplerFlags, (typeof NOISY)[number]>;
export const PATH_SAMPLER = SAMPLER_FLAGS.filter((name): name is PathSampler => !NOISY.some((noisy) => noisy === name));

const operationFlags: FlagTable<OperationFlags> = {
  class: () =>
    new Option("-c, --class <list>", "class ids or names of the images (default: none, where the model knows that)"),
  seed: () => new Option("--seed <n>", "0 to 2^64-1 (default: 0)").argParser(seed),
  batch: () =>
    new Option("-b, --batch <n>", "images at a time, or auto for what fits (default: auto)").argParser(batch),
  context: () => new Option("--context <file>", "safetensors with encoder_hidden_states, 1 or N x L x D"),
  concat: () =>
    new Option("--concat <file>", "safetensors with what the network reads beside its state, 1 or N x C x H x W"),
  guidance: () =>
    new Option(
      "--guidance <w>",
      "classifier-free guidance, away from the null class or from `negative` of the context's file (default: 1)",
    ).argParser(number),
  memory: () => new Option("--memory <size>", "most bytes beside the weights, such as 2G").argParser(byteCount),
};

/** @param output default of `-o` */
export function addPictureFlags(command: Command, output: string): Command {
  command
    .option("-o, --output <path>", "x.png, or x.safetensors with the numbers themselves", output)
    .option("--overwrite", "replace what is there")
    .option("--scale <k>", "enlarge the picture; small images become about 128 wide by default", whole(1));
  return addReadFlags(command, "images of another size than the model's");
}

/** @param what is fitted */
export function addReadFlags(command: Command, what: string): Command {
  return command
    .addOption(new Option("--fit <how>", what).choices(fits).default("crop"))
    .option("--max-pixels <n>", `most pixels of an image that is read (default: ${MAX_PIXELS})`, whole(1));
}

export const addOperationFlags = (command: Command, names: readonly (keyof OperationFlags)[]): Command =>
  addFlags(command, operationFlags, names);

export interface Prepared {
  readonly terminal: Terminal;
  readonly model: Model;
}

type OperationOption = "classes" | "batch" | "context" | "negativeContext" | "concat" | "guidance" | "signal";

export type OperationOptions = Awaited<ReturnType<typeof operationOptions>>;

/** What the flags say, for runs and any of the operations. */
export async function operationOptions(
  flags: OperationFlags & SamplerFlags & NumberFlags,
  { model, terminal }: Prepared,
): Promise<Pick<GenerateOptions, OperationOption> & ReturnType<typeof samplerOptions>> {
  const { signal } = terminal.io;
  const { context, concat, nonFinite, guidance = 1 } = flags;
  const guided = [guidance].flat().some((w) => w !== 1);
  return {
    ...samplerOptions(flags),
    classes: flags.class === undefined ? undefined : parseClasses(flags.class, model.labels),
    batch: batchSize(flags.batch),
    guidance: flags.guidance,
    ...(context === undefined ? {} : await readContexts(context, { model, guided, nonFinite }, signal)),
    concat: concat === undefined ? undefined : await readConcat(concat, { model, nonFinite }, signal),
    signal,
  };
}

/** The same for a way without noise. */
export function pathOptions({ eta: _, sampler: __, sigma: ___, temperature: ____, ...rest }: OperationOptions) {
  return rest;
}

/** Opens the model and checks where the result goes. */
export async function prepareOperation(flags: PictureFlags & ModelFlags & OutputFlags, io: Io): Promise<Prepared> {
  const terminal = new Terminal(io, flags);
  const model = await openFlaggedModel(terminal, flags);
  if (!/\.(png|safetensors)$/i.test(flags.output))
    throw new UsageError("output", `-o ${flags.output}: the name must end in .png or .safetensors`);
  if (flags.scale !== undefined && !/\.png$/i.test(flags.output))
    throw new UsageError("scale", "--scale enlarges PNG files, safetensors hold the images as they are");
  checkFile(flags.output, flags.overwrite === true);
  return { terminal, model };
}

/** A picture, and on stderr what of its file was passed over. */
export const readPicture = (
  path: string,
  terminal: Terminal,
  { maxPixels }: Pick<ReadFlags, "maxPixels">,
): Promise<RgbaImage> => readImage(path, { maxPixels, onWarning: (text) => terminal.warn([text]) });

/** Pictures at the model's size, in −1..1; says on stderr what was done to them. */
export async function readImages(
  paths: readonly string[],
  { model, terminal }: Prepared,
  flags: ReadFlags,
): Promise<Tensor> {
  const { sample_size: size } = model.config;
  const channels = model.firstStage?.spec.in_channels ?? model.stateChannels;
  if (!size) throw new UsageError("model", `${model.name} names no sample_size, so images cannot be fitted to it`);
  const target = scaled(checkSize(model, size), pixelScale(model));
  const images: RgbaImage[] = [];
  for (const path of paths) {
    const { image, done } = fitImage(await readPicture(path, terminal, flags), target, flags.fit);
    if (done) terminal.note(`${path}: ${done}`);
    images.push(image);
  }
  return fromRgbaImages(images, channels);
}

/** Shows work that begins, and its steps. */
export function shower({ progress }: Session, label: string) {
  progress.show(label);
  return ({ index, of }: { index: number; of: number }) => progress.show(label, index + 1, of);
}

/** What a run on images was asked, as far as its pictures record it. */
type AskedFlags = PictureFlags &
  ModelFlags &
  Pick<DeviceFlags, "precision"> &
  Pick<OperationFlags, "guidance"> &
  SamplerFlags;

/** {@link writeResult} of a run with these options, unless it was interrupted; its warnings on stderr. */
export async function writeGeneration(
  flags: AskedFlags,
  generation: Generation,
  options: GenerateOptions,
  session: Session,
  terminal: Terminal,
  lines?: readonly number[],
): Promise<void> {
  const { images, samples, latents, warnings } = generation;
  const { model } = session.pipeline;
  session.progress.stop();
  terminal.io.signal.throwIfAborted();
  const parameters = await madeParameters(terminal, session, flags, {
    ...generation,
    count: images.length,
    size: images[0] as RgbaImage,
    schedule: resolveSchedule(model, options),
    contextLength: tokensOf(model, options.context),
  });
  await writeResult(flags, images, { images: samples, ...(latents ? { latents } : {}) }, parameters, lines);
  terminal.warn(warnings);
  terminal.done(madeText([flags.output], images.length, images[0] as RgbaImage));
}

/** The pictures on one sheet, with `lines` saying which line each is in, or the tensors; and what they were made with. */
export async function writeResult(
  { output, scale }: Pick<PictureFlags, "output" | "scale">,
  pictures: readonly RgbaImage[],
  tensors: Readonly<Record<string, Tensor>>,
  parameters: GenerationParameters,
  lines?: readonly number[],
): Promise<void> {
  const texts = recordedTexts(parameters);
  if (/\.safetensors$/i.test(output)) return writeFile(output, encodeSafetensors(tensors, texts));
  const factor = scaleOf({ form: "picture" }, scale, pictures[0] as RgbaImage);
  writeFile(output, await encodePng(sheet(pictures, factor, lines), texts));
}
