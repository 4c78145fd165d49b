/** `ddim decode`: latents to images by an autoencoder alone. */
import type { Command } from "commander";
import { checkShape } from "../../autoencoder/batches.ts";
import { fromSampler } from "../../autoencoder/scaling.ts";
import type { GenerationParameters } from "../../image/parameters.ts";
import { encodePng } from "../../image/png.ts";
import { enlarge, type RgbaImage } from "../../image/rgba.ts";
import { toRgbaImages } from "../../image/samples.ts";
import { autoencoderId } from "../../pipeline/modelId.ts";
import type { Tensor } from "../../pipeline/types.ts";
import { UsageError } from "../../runtime/errors.ts";
import { encodeSafetensors } from "../../weights/encode.ts";
import { byteCount, FIRST_STAGE_FLAGS, type FirstStageFlags, openFirstStage, withAutoencoder } from "../autoencoder.ts";
import { addCommonFlags, whole } from "../flags.ts";
import { type ImageOutput, madeText, planOutput, scaleOf } from "../imageOutput.ts";
import { type Io, Terminal } from "../io.ts";
import { modelArgument } from "../modelFlag.ts";
import { once } from "../once.ts";
import { writeFile } from "../output.ts";
import { PictureFiles } from "../pictureFiles.ts";
import { marked, recordedTexts, typedFacts } from "../provenance.ts";
import { sheet } from "../sheet.ts";
import { readLatents } from "../tensorFiles.ts";
import { unfinished } from "../unfinished.ts";

interface DecodeFlags extends FirstStageFlags {
  output: string;
  overwrite?: true;
  quantize: boolean;
  scale?: number;
  memory?: number;
}

export function addDecode(program: Command, io: Io): void {
  const command = program
    .command("decode")
    .summary("latents to images, by the first stage alone")
    .description(
      "Reads latents (N,C,H,W) as a sampler leaves them, or sample as the decoder takes it (without scaling factor), and " +
        "writes the images.",
    )
    .argument("<file>", "safetensors with latents or sample")
    .option("-o, --output <path>", "x.png, %03d.png, a folder, or x.safetensors with images (N,C,H,W, f32)", "out.png")
    .option("--overwrite", "replace what is there")
    .option("--no-quantize", "decode a VQModel's latents as they are, without its codebook")
    .option("--scale <k>", "enlarge PNGs; by default one picture of small images is, to about 128 each", whole(1))
    .option(
      "--memory <size>",
      "GPU memory for activations, for example 512M: larger images come in tiles (4G)",
      byteCount,
    )
    .addHelpText("after", "\nExample:\n  $ ddim decode -m ./model/vae latents.safetensors -o face.png");
  addCommonFlags(command, FIRST_STAGE_FLAGS);
  command.action((path: string, flags: DecodeFlags) => decode(path, flags, io));
}

async function decode(path: string, flags: DecodeFlags, io: Io): Promise<void> {
  const terminal = new Terminal(io, flags);
  const model = await openFirstStage(terminal, flags);
  const { spec } = model;
  if (!flags.quantize && spec.kind !== "vq")
    throw new UsageError("quantize", `${model.name} describes no VQModel: it never quantises`);
  const { name, tensor } = await readLatents(path, flags.nonFinite, io.signal);
  const [count] = checkShape(tensor, "decode", spec.latent_channels);
  const output = planOutput(flags.output, count, flags.overwrite === true);
  if (output.form === "tensors" && flags.scale !== undefined)
    throw new UsageError("scale", "--scale enlarges PNG files, safetensors hold the images as they are");
  const latents = name === "latents" ? fromSampler(spec, tensor) : tensor;
  const quantize = flags.quantize ? undefined : false;
  await withAutoencoder(terminal, flags, model, async (autoencoder, progress) => {
    const modelHash = once(() => autoencoderId(model, io.signal));
    const facts = async ({ height = 0, width = 0 }): Promise<GenerationParameters> => ({
      task: "decode",
      model: modelArgument(flags.model),
      modelHash: await modelHash(),
      count,
      dtype: autoencoder.dtype,
      precision: flags.precision,
      size: { width, height },
      adapter: autoencoder.device.name,
      ...typedFacts(io, flags),
    });
    const encode = async (picture: RgbaImage, i: number) =>
      encodePng(
        enlarge(picture, scaleOf(output, flags.scale, picture)),
        recordedTexts(marked(await facts(picture), `image ${i}`)),
      );
    const files = new PictureFiles(output, encode);
    try {
      const onBatch = ({ first, images }: { first: number; images: Tensor }) => files.write(first, rgbaOf(images));
      const { image } = await autoencoder.decode(latents, { quantize, signal: io.signal, onBatch });
      progress.stop();
      io.signal.throwIfAborted();
      const [, , height = 0, width = 0] = image.shape;
      if (output.form !== "files") await writeWhole(output, image, flags.scale, await facts({ height, width }));
      terminal.done(madeText(output.paths, count, { width, height }));
      if (flags.json)
        terminal.json({
          images: output.paths,
          shape: image.shape,
          dtype: autoencoder.dtype,
          adapter: autoencoder.device.name,
        });
    } catch (error) {
      throw unfinished(error, files.kept);
    }
  });
}

function rgbaOf({ shape, data }: Tensor): RgbaImage[] {
  const [n, channels, height, width] = shape as [number, number, number, number];
  return toRgbaImages(data, n, channels, { height, width });
}

/** All images in one file. */
async function writeWhole(
  output: ImageOutput,
  image: Tensor,
  scale: number | undefined,
  parameters: GenerationParameters,
): Promise<void> {
  const [path = ""] = output.paths;
  const texts = recordedTexts(parameters);
  if (output.form === "tensors") return writeFile(path, encodeSafetensors({ images: image }, texts));
  const factor = scaleOf(output, scale, parameters.size);
  writeFile(path, await encodePng(sheet(rgbaOf(image), factor), texts));
}
