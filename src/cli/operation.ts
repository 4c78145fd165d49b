/** What the commands that work on images share: flags, pictures read and fitted, results written. */
import { type Command, Option } from "commander";
import { encodePng } from "../image/png.ts";
import { type Fit, fitImage, fits } from "../image/resize.ts";
import { defaultScale, type RgbaImage } from "../image/rgba.ts";
import { fromRgbaImages } from "../image/samples.ts";
import { readImage } from "../node/image.ts";
import type { Model } from "../pipeline/model.ts";
import { checkSize, pixelScale } from "../pipeline/run.ts";
import type { Tensor } from "../pipeline/types.ts";
import { UsageError } from "../runtime/errors.ts";
import { encodeSafetensors } from "../weights/encode.ts";
import { byteCount } from "./autoencoder.ts";
import { parseClasses } from "./classFlag.ts";
import {
  addCommonFlags,
  addSamplerFlags,
  type CommonFlags,
  MODEL_FLAGS,
  type SamplerFlags,
  samplerOptions,
  seed,
  whole,
} from "./flags.ts";
import { type Io, Terminal } from "./io.ts";
import { openFlaggedModel } from "./modelFlag.ts";
import { checkFile, writeFile } from "./output.ts";
import { typedCommand } from "./provenance.ts";
import { sheet } from "./sheet.ts";
import { readContexts } from "./tensorFiles.ts";

export interface OperationFlags extends CommonFlags, SamplerFlags {
  class?: string;
  seed?: bigint;
  fit: Fit;
  output: string;
  overwrite?: true;
  scale?: number;
  batch?: number;
  context?: string;
  memory?: number;
}

/** @param output default of `-o` */
export function addOperationFlags(command: Command, output: string): Command {
  command
    .option("-o, --output <path>", "x.png, or x.safetensors with the numbers themselves", output)
    .option("--overwrite", "replace what is there")
    .option("-c, --class <list>", "class ids or names of the images (default: none, where the model knows that)")
    .option("--seed <n>", "0 to 2^64-1 (default: 0)", seed)
    .addOption(new Option("--fit <how>", "images of another size than the model's").choices(fits).default("crop"))
    .option("--scale <k>", "enlarge the picture; small images become about 128 wide by default", whole(1))
    .option("-b, --batch <n>", "images at a time (default: what fits)", whole(1))
    .option("--context <file>", "safetensors with encoder_hidden_states, 1 or N x L x D")
    .option("--memory <size>", "most bytes beside the weights, such as 2G", byteCount);
  addSamplerFlags(command);
  return addCommonFlags(command, MODEL_FLAGS);
}

export interface Prepared {
  readonly terminal: Terminal;
  readonly model: Model;
  readonly options: Awaited<ReturnType<typeof optionsOf>>;
}

async function optionsOf(flags: OperationFlags, model: Model, signal: AbortSignal) {
  return {
    ...samplerOptions(flags),
    classes: flags.class === undefined ? undefined : parseClasses(flags.class, model.labels),
    seed: flags.seed ?? 0n,
    batch: flags.batch,
    ...(flags.context === undefined ? {} : await readContexts(flags.context, false, signal)),
    signal,
  };
}

/** Opens the model and checks where the result goes. */
export async function prepareOperation(flags: OperationFlags, io: Io): Promise<Prepared> {
  const model = await openFlaggedModel(flags, io.signal);
  if (!/\.(png|safetensors)$/i.test(flags.output))
    throw new UsageError("output", `-o ${flags.output}: the name must end in .png or .safetensors`);
  checkFile(flags.output, flags.overwrite === true);
  return { terminal: new Terminal(io, flags), model, options: await optionsOf(flags, model, io.signal) };
}

/** PNG and JPEG files at the model's size, in −1..1; says on stderr what was done to them. */
export async function readImages(
  paths: readonly string[],
  { model, terminal }: Pick<Prepared, "model" | "terminal">,
  fit: Fit,
): Promise<Tensor> {
  const { sample_size: size } = model.config;
  const channels = model.firstStage?.spec.in_channels ?? model.config.in_channels;
  if (!size) throw new UsageError("model", `${model.name} names no sample_size, so images cannot be fitted to it`);
  const { height, width } = checkSize(model, size);
  const scale = pixelScale(model);
  const target = { height: height * scale, width: width * scale };
  const images: RgbaImage[] = [];
  for (const path of paths) {
    const { image, done } = fitImage(await readImage(path), target, fit);
    if (done) terminal.note(`${path}: ${done}`);
    images.push(image);
  }
  return fromRgbaImages(images, channels);
}

/** The pictures on one sheet, with `rows` saying which row each is in, or the tensors; and the command that made them. */
export async function writeResult(
  { output, scale }: Pick<OperationFlags, "output" | "scale">,
  pictures: readonly RgbaImage[],
  tensors: Readonly<Record<string, Tensor>>,
  io: Io,
  rows?: readonly number[],
): Promise<void> {
  const command = typedCommand(io);
  if (/\.safetensors$/i.test(output)) {
    const f32 = Object.entries(tensors).map(([name, t]) => [name, { dtype: "F32", ...t }] as const);
    return writeFile(output, encodeSafetensors(Object.fromEntries(f32), { command }));
  }
  const factor = scale ?? defaultScale(pictures[0]?.width ?? 1);
  writeFile(output, await encodePng(sheet(pictures, factor, rows), { command }));
}
