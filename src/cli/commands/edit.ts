/** `ddim edit` and `ddim noise`: an image made noisy, and a new one made from that. */
import { type Command, InvalidArgumentError } from "commander";
import { fitImage } from "../../image/resize.ts";
import { toRgbaImages } from "../../image/samples.ts";
import { checkConcat } from "../../pipeline/concat.ts";
import { modelId } from "../../pipeline/modelId.ts";
import { forwardNoise } from "../../pipeline/noise.ts";
import type { Tensor } from "../../pipeline/types.ts";
import {
  ALL_FLAGS,
  addCommonFlags,
  addSamplerFlags,
  type CommonFlags,
  MODEL_FLAGS,
  type ModelFlags,
  number,
  numbers,
  OUTPUT_FLAGS,
  type OutputFlags,
  type SamplerFlags,
  seed,
} from "../flags.ts";
import { madeText } from "../imageOutput.ts";
import type { Io, Terminal } from "../io.ts";
import {
  addOperationFlags,
  addPictureFlags,
  type OperationFlags,
  operationOptions,
  type PictureFlags,
  prepareOperation,
  readImages,
  readPicture,
  shower,
  writeGeneration,
  writeResult,
} from "../operation.ts";
import { typedFacts } from "../provenance.ts";
import { withPipeline } from "../session.ts";

interface EditFlags extends CommonFlags, PictureFlags, OperationFlags, SamplerFlags {
  strength?: number;
  mask?: string;
  repaint?: { jump: number; resamples: number };
}

interface NoiseFlags extends ModelFlags, OutputFlags, PictureFlags {
  at: number[];
  seed?: bigint;
}

const repaint = (text: string) => {
  const [jump = Number.NaN, resamples = Number.NaN, ...more] = numbers(text);
  if (Number.isNaN(resamples) || more.length)
    throw new InvalidArgumentError("expected a jump and a number of resamples");
  return { jump, resamples };
};

export function addEdit(program: Command, io: Io): void {
  const command = program
    .command("edit")
    .summary("image to image, and in-painting")
    .description("Adds noise to an image and takes it away again; with a mask, only where the mask is white.")
    .argument("<image>", "PNG, JPEG or WebP file")
    .option("--strength <s>", "0 to 1: begins at t = round(s T) - 1 (default: 0.6; 1 with a mask)", number)
    .option(
      "--mask <file>",
      "PNG, JPEG or WebP file; white is repainted, black is kept; read by networks made for in-painting",
    )
    .option("--repaint <jump,resamples>", "RePaint: go back up after every so many steps, so many times", repaint)
    .addHelpText("after", "\nExample:\n  $ ddim edit face.png --mask hat.png --repaint 5,5 -o edited.png");
  addPictureFlags(command, "edited.png");
  addOperationFlags(command, ["class", "seed", "batch", "context", "concat", "guidance", "memory"]);
  addCommonFlags(addSamplerFlags(command), ALL_FLAGS);
  command.action((path: string, flags: EditFlags) => edit(path, flags, io));
}

export function addNoise(program: Command, io: Io): void {
  const command = program
    .command("noise")
    .summary("the forward process at some timesteps")
    .description("Shows an image as noisy as it is at some timesteps. Needs no GPU.")
    .argument("<image>", "PNG, JPEG or WebP file")
    .requiredOption("-t, --at <list>", "timesteps, for example 0,250,500,999", numbers)
    .addHelpText("after", "\nExample:\n  $ ddim noise face.png -t 0,250,500,999 -o line.png");
  addPictureFlags(command, "noise.png").option("--seed <n>", "of the noise, 0 to 2^64-1 (default: 0)", seed);
  addCommonFlags(command, [...MODEL_FLAGS, ...OUTPUT_FLAGS]);
  command.action((path: string, flags: NoiseFlags) => noise(path, flags, io));
}

/** 0 to 255, as Pillow's convert("L") has it, by which diffusers reads masks (ITU-R 601 in 16 bits). */
const luma = (rgba: Uint8ClampedArray, at: number): number =>
  (19595 * rgba[at]! + 38470 * rgba[at + 1]! + 7471 * rgba[at + 2]! + 0x8000) >> 16;

/** 1 where a picture is black: what is kept. [1, 1, H, W] */
async function readMask(
  path: string,
  [, , height = 0, width = 0]: readonly number[],
  flags: EditFlags,
  terminal: Terminal,
): Promise<Tensor> {
  const { image } = fitImage(await readPicture(path, terminal, flags), { width, height }, flags.fit);
  const data = Float32Array.from({ length: width * height }, (_, p) => (luma(image.data, 4 * p) < 128 ? 1 : 0));
  return { shape: [1, 1, height, width], data };
}

async function edit(path: string, flags: EditFlags, io: Io): Promise<void> {
  const prepared = await prepareOperation(flags, io);
  const { terminal, model } = prepared;
  const options = await operationOptions(flags, prepared);
  if (flags.mask === undefined) checkConcat(model, options);
  const image = await readImages([path], prepared, flags);
  const mask = flags.mask === undefined ? undefined : await readMask(flags.mask, image.shape, flags, terminal);
  await withPipeline(terminal, flags, { model }, async (session) => {
    const made = await session.pipeline.edit(image, {
      ...options,
      seed: flags.seed ?? 0n,
      strength: flags.strength,
      mask,
      repaint: flags.repaint,
      onStep: shower(session, "editing"),
    });
    await writeGeneration(flags, made, options, session, terminal);
    if (flags.json)
      terminal.json({ output: flags.output, seed: made.seed, steps: made.steps, warnings: made.warnings });
  });
}

async function noise(path: string, flags: NoiseFlags, io: Io): Promise<void> {
  const prepared = await prepareOperation(flags, io);
  const image = await readImages([path], prepared, flags);
  const { terminal, model } = prepared;
  const noisy = forwardNoise(model, image, flags.at, flags.seed);
  const [n = 0, channels = 0, height = 0, width = 0] = noisy.shape;
  const pictures = toRgbaImages(noisy.data, n, channels, { height, width });
  await writeResult(
    flags,
    pictures,
    { images: noisy },
    {
      task: "noise",
      model: model.name,
      modelHash: await modelId(model, io.signal),
      seed: String(flags.seed ?? 0n),
      timesteps: flags.at,
      rng: "philox",
      count: n,
      size: { width, height },
      ...typedFacts(io, flags),
    },
    pictures.map(() => 0),
  );
  terminal.done(madeText([flags.output], n, { width, height }));
  if (flags.json) terminal.json({ output: flags.output, timesteps: flags.at });
}
