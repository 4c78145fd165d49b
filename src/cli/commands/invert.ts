/** `ddim invert`: images to latents, and back for comparison. */
import { type Command, Option } from "commander";
import { enlarge } from "../../image/rgba.ts";
import { toRgbaImages } from "../../image/samples.ts";
import { checkConcat } from "../../pipeline/concat.ts";
import { tokensOf } from "../../pipeline/contexts.ts";
import type { Reconstruction } from "../../pipeline/invert.ts";
import type { Tensor } from "../../pipeline/types.ts";
import { type Inversion as Convention, inversions } from "../../sampler/inversion.ts";
import {
  ALL_FLAGS,
  addCommonFlags,
  addSamplerFlags,
  type CommonFlags,
  refuseFlags,
  type SamplerFlags,
  whole,
} from "../flags.ts";
import type { Io } from "../io.ts";
import {
  addOperationFlags,
  addPictureFlags,
  type OperationFlags,
  operationOptions,
  PATH_FLAGS,
  PATH_SAMPLER,
  type PathSampler,
  type PictureFlags,
  pathOptions,
  prepareOperation,
  readImages,
  shower,
  writeResult,
} from "../operation.ts";
import { madeParameters } from "../provenance.ts";
import { withPipeline } from "../session.ts";
import { plural, table } from "../table.ts";

interface InvertFlags
  extends CommonFlags,
    PictureFlags,
    Pick<OperationFlags, (typeof PATH_FLAGS)[number]>,
    Pick<SamplerFlags, PathSampler> {
  convention: Convention;
  iterations?: number;
  reconstruct?: true;
}

export function addInvert(program: Command, io: Io): void {
  const command = program
    .command("invert")
    .summary("images to latents, and back")
    .description("Finds the noise that DDIM with eta 0 turns into the given images.")
    .argument("<image...>", "PNG, JPEG or WebP files")
    .addOption(
      new Option("--convention <name>", "where epsilon is taken on the way up")
        .choices(inversions)
        .default("fixed-point"),
    )
    .option("--iterations <k>", "evaluations per step beyond the first guess, for fixed-point (default: 3)", whole(1))
    .option("--reconstruct", "go back as well: errors, and a strip original | x_T | result")
    .addHelpText("after", "\nExample:\n  $ ddim invert face.png -S 50 --reconstruct -o strip.png");
  addOperationFlags(addPictureFlags(command, "x_T.safetensors"), PATH_FLAGS);
  addCommonFlags(addSamplerFlags(command, PATH_SAMPLER), ALL_FLAGS);
  command.action((paths: string[], flags: InvertFlags) => {
    if (flags.convention !== "fixed-point")
      refuseFlags(command, ["iterations"], `--convention ${flags.convention} takes no more than one evaluation a step`);
    return invert(paths, flags, io);
  });
}

async function invert(paths: readonly string[], flags: InvertFlags, io: Io): Promise<void> {
  const prepared = await prepareOperation(flags, io);
  const { terminal, model } = prepared;
  const options = pathOptions(await operationOptions(flags, prepared));
  checkConcat(model, options);
  const images = await readImages(paths, prepared, flags);
  const chosen = { ...options, convention: flags.convention, iterations: flags.iterations };
  await withPipeline(terminal, flags, { model }, async (session) => {
    const { pipeline, progress } = session;
    const onStep = shower(session, "inverting");
    const result = flags.reconstruct
      ? await pipeline.reconstruct(images, { ...chosen, onStep })
      : await pipeline.invert(images, { ...chosen, onStep });
    progress.stop();
    io.signal.throwIfAborted();
    const { latents, companion, residuals } = result;
    const back = "generation" in result ? (result as Reconstruction) : undefined;
    const tensors = {
      x_T: latents,
      ...(companion ? { x_T_previous: companion } : {}),
      ...(back ? { images: back.generation.samples } : {}),
    };
    const pictures = strip(images, latents, back);
    const parameters = await madeParameters(terminal, session, flags, {
      count: paths.length,
      size: { height: images.shape[2] as number, width: images.shape[3] as number },
      seed: 0n,
      steps: result.schedule.steps.length,
      classes: result.classes,
      schedule: result.schedule,
      contextLength: tokensOf(model, options.context),
    });
    await writeResult(flags, pictures, tensors, parameters, linesOf(paths, back));
    terminal.warn(result.warnings);
    terminal.done(
      `${flags.output}: ${back ? "latents and reconstructions" : "latents"} of ${plural(paths.length, "image")}`,
    );
    const moments = paths.map((_, i) => momentsOf(latents, i));
    const residual = residuals?.map((list) => Math.max(...list));
    if (flags.json)
      return terminal.json({
        output: flags.output,
        images: paths.map((path, i) => ({
          path,
          ...moments[i],
          residual: residual?.[i],
          mse: back?.mse[i],
          psnr: back && finite(back.psnr[i] as number),
        })),
        steps: result.schedule.steps.length,
        warnings: result.warnings,
      });
    const columns: (readonly [name: string, format: (value: number) => string])[] = [
      ["mean", fixed(4)],
      ["std", fixed(4)],
      ["kurtosis", fixed(4)],
      ...(back
        ? ([
            ["mse", scientific(3)],
            ["psnr", fixed(2)],
          ] as const)
        : []),
      ...(residual ? ([["residual", scientific(1)]] as const) : []),
    ];
    const values = moments.map((own, i) => [
      ...Object.values(own),
      ...(back ? [back.mse[i]!, back.psnr[i]!] : []),
      ...(residual ? [residual[i]!] : []),
    ]);
    const means = columns.map((_, c) => values.reduce((sum, own) => sum + own[c]!, 0) / values.length);
    const cells = [...values, ...(values.length > 1 ? [means] : [])].map((own, i) => [
      paths[i] ?? "mean",
      ...own.map((value, c) => columns[c]![1](value)),
    ]);
    const head = ["image", ...columns.map(([name]) => name)];
    terminal.data(table(head, cells));
  });
}

const fixed = (digits: number) => (value: number) => value.toFixed(digits);
const scientific = (digits: number) => (value: number) => value.toExponential(digits);

/** JSON has no infinity. */
const finite = (v: number) => (Number.isFinite(v) ? v : null);

function strip(images: Tensor, latents: Tensor, back: Reconstruction | undefined) {
  const [n = 0, channels = 0, height = 0, width = 0] = images.shape;
  const [, planes = 0, h = 0, w = 0] = latents.shape;
  // Three standard deviations of a latent are the range of a picture.
  const small = toRgbaImages(
    latents.data.map((v) => v / 3),
    n,
    planes,
    { height: h, width: w },
  );
  const seen = small.map((picture) => enlarge(picture, width / w));
  if (!back) return seen;
  const originals = toRgbaImages(images.data, n, channels, { height, width });
  return originals.flatMap((original, i) => [original, seen[i]!, back.generation.images[i]!]);
}

/** A line per image where there are three pictures of each. */
const linesOf = (paths: readonly string[], back: Reconstruction | undefined) =>
  back && paths.flatMap((_, i) => [i, i, i]);

/** Of one image's latent; noise has 0, 1 and 3. */
function momentsOf({ shape, data }: Tensor, image: number): { mean: number; std: number; kurtosis: number } {
  const size = data.length / (shape[0] as number);
  const values = data.subarray(image * size, (image + 1) * size);
  const mean = values.reduce((a, b) => a + b, 0) / size;
  const moment = (k: number) => values.reduce((sum, v) => sum + (v - mean) ** k, 0) / size;
  const variance = moment(2);
  return { mean, std: Math.sqrt(variance), kurtosis: moment(4) / variance ** 2 };
}
