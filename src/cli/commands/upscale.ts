/** `ddim upscale`: a picture enlarged by a network that reads it. */
import type { Command } from "commander";
import { fitImage } from "../../image/resize.ts";
import { fromRgbaImages } from "../../image/samples.ts";
import { sizeMultiple } from "../../pipeline/size.ts";
import type { Tensor } from "../../pipeline/types.ts";
import { smallChannels } from "../../pipeline/upscale.ts";
import { UsageError } from "../../runtime/errors.ts";
import { ALL_FLAGS, addCommonFlags, addSamplerFlags, type CommonFlags, type SamplerFlags, whole } from "../flags.ts";
import type { Io } from "../io.ts";
import {
  addOperationFlags,
  addPictureFlags,
  type OperationFlags,
  operationOptions,
  type PictureFlags,
  type Prepared,
  prepareOperation,
  readPicture,
  shower,
  writeGeneration,
} from "../operation.ts";
import { withPipeline } from "../session.ts";

const FLAGS = ["seed", "batch", "context", "guidance", "memory"] as const satisfies (keyof OperationFlags)[];

interface UpscaleFlags extends CommonFlags, PictureFlags, Pick<OperationFlags, (typeof FLAGS)[number]>, SamplerFlags {
  noiseLevel?: number;
}

export function addUpscale(program: Command, io: Io): void {
  const command = program
    .command("upscale")
    .summary("a picture enlarged by a network that reads it")
    .description(
      "Enlarges an image with a super-resolution network of latent-diffusion or an x4 upscaler of Stable Diffusion, at the " +
        "image's own size. An upscaler attends to a text, whose context --context gives.",
    )
    .argument("<image>", "PNG, JPEG or WebP file")
    .option("--noise-level <t>", "of an upscaler: the timestep whose noise the image gets (default: 20)", whole(0))
    .addHelpText("after", "\nExample:\n  $ ddim upscale small.png -m ldm-super-resolution -S 100 --eta 1 -o large.png");
  addOperationFlags(addPictureFlags(command, "upscaled.png"), FLAGS);
  addCommonFlags(addSamplerFlags(command), ALL_FLAGS);
  command.action((path: string, flags: UpscaleFlags) => upscale(path, flags, io));
}

/** A picture in −1..1, at its own size or the next smaller one that the network takes. */
async function readSmall(path: string, { model, terminal }: Prepared, flags: UpscaleFlags): Promise<Tensor> {
  const channels = smallChannels(model);
  const picture = await readPicture(path, terminal, flags);
  const multiple = sizeMultiple(model);
  const [width, height] = [picture.width, picture.height].map((side) => side - (side % multiple)) as [number, number];
  if (width === 0 || height === 0)
    throw new UsageError(
      "image",
      `${path} has ${picture.width} x ${picture.height} pixels: ${model.name} takes ${multiple} or more along each side`,
    );
  const { image, done } = fitImage(picture, { width, height }, flags.fit);
  if (done) terminal.note(`${path}: ${done}`);
  return fromRgbaImages([image], channels);
}

async function upscale(path: string, flags: UpscaleFlags, io: Io): Promise<void> {
  const prepared = await prepareOperation(flags, io);
  const { terminal, model } = prepared;
  const { classes: _, concat: __, ...options } = await operationOptions(flags, prepared);
  const image = await readSmall(path, prepared, flags);
  await withPipeline(terminal, flags, { model }, async (session) => {
    const made = await session.pipeline.upscale(image, {
      ...options,
      seed: flags.seed ?? 0n,
      noiseLevel: flags.noiseLevel,
      onStep: shower(session, "enlarging"),
    });
    await writeGeneration(flags, made, options, session, terminal);
    if (flags.json)
      terminal.json({ output: flags.output, seed: made.seed, steps: made.steps, warnings: made.warnings });
  });
}
