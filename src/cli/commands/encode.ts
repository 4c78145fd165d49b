/** `ddim encode`: images to latents by an autoencoder alone. */
import type { Command } from "commander";
import type { Encoding } from "../../autoencoder/autoencoder.ts";
import type { AutoencoderModel } from "../../autoencoder/open.ts";
import { toSampler } from "../../autoencoder/scaling.ts";
import { latentScale } from "../../autoencoder/spec.ts";
import { fitImage } from "../../image/resize.ts";
import type { RgbaImage } from "../../image/rgba.ts";
import { fromRgbaImages } from "../../image/samples.ts";
import type { Tensor } from "../../pipeline/types.ts";
import { ShapeError, UsageError } from "../../runtime/errors.ts";
import { encodeSafetensors } from "../../weights/encode.ts";
import { FIRST_STAGE_FLAGS, type FirstStageFlags, openFirstStage, withAutoencoder } from "../autoencoder.ts";
import { addCommonFlags } from "../flags.ts";
import { type Io, Terminal } from "../io.ts";
import { addReadFlags, type ReadFlags, readPicture } from "../operation.ts";
import { checkFile, writeFile } from "../output.ts";
import { typedCommand } from "../provenance.ts";

interface EncodeFlags extends FirstStageFlags, ReadFlags {
  output: string;
  overwrite?: true;
}

export function addEncode(program: Command, io: Io): void {
  const command = program
    .command("encode")
    .summary("images to latents, by the first stage alone")
    .description(
      "Writes latents (N,C,H,W) as a sampler takes them, scaling factor applied: of an AutoencoderKL the mean, with mean " +
        "and logvar unscaled besides; of a VQModel not quantised. Images keep the size of the first, cut to whole latents.",
    )
    .argument("<image...>", "PNG, JPEG or WebP files")
    .option("-o, --output <file>", "safetensors to write", "latents.safetensors")
    .option("--overwrite", "replace what is there")
    .addHelpText("after", "\nExample:\n  $ ddim encode -m ./model/vae face.png -o latents.safetensors");
  addCommonFlags(addReadFlags(command, "images of another size than the first"), FIRST_STAGE_FLAGS);
  command.action((paths: string[], flags: EncodeFlags) => encode(paths, flags, io));
}

async function encode(paths: readonly string[], flags: EncodeFlags, io: Io): Promise<void> {
  const terminal = new Terminal(io, flags);
  const { output } = flags;
  if (!/\.safetensors$/i.test(output))
    throw new UsageError("output", `-o ${output}: the name must end in .safetensors`);
  const model = await openFirstStage(terminal, flags);
  const images = await readAll(paths, model, flags, terminal);
  checkFile(output, flags.overwrite === true);
  await withAutoencoder(terminal, flags, model, async (autoencoder, progress) => {
    const tensors = named(model, await autoencoder.encode(images, { signal: io.signal }));
    progress.stop();
    io.signal.throwIfAborted();
    writeFile(output, encodeSafetensors(tensors, { command: typedCommand(io) }));
    const { shape } = tensors.latents;
    if (flags.json) terminal.json({ output, shape, dtype: autoencoder.dtype, adapter: autoencoder.device.name });
    terminal.done(`${output}: latents [${shape.join(", ")}]`);
  });
}

function named({ spec }: AutoencoderModel, encoding: Encoding): Record<string, Tensor> & { latents: Tensor } {
  if (encoding.kind === "vq") return { latents: toSampler(spec, encoding.latents) };
  const { mean, logvar } = encoding;
  return { latents: toSampler(spec, mean), mean, logvar };
}

/** The pictures at one size, in −1..1; says on stderr what was done to them. */
async function readAll(
  paths: readonly string[],
  model: AutoencoderModel,
  flags: ReadFlags,
  terminal: Terminal,
): Promise<Tensor> {
  const scale = latentScale(model.spec);
  const images: RgbaImage[] = [];
  let size: { width: number; height: number } | undefined;
  for (const path of paths) {
    const image = await readPicture(path, terminal, flags);
    const whole = (length: number) => Math.floor(length / scale) * scale;
    size ??= { width: whole(image.width), height: whole(image.height) };
    if (size.width < 1 || size.height < 1)
      throw new ShapeError("encode", path, `at least ${scale} × ${scale} pixels`, [image.width, image.height]);
    const { image: fitted, done } = fitImage(image, size, flags.fit);
    if (done) terminal.note(`${path}: ${done}`);
    images.push(fitted);
  }
  return fromRgbaImages(images, model.spec.in_channels);
}
