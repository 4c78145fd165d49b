/** `ddim interpolate` and `ddim fuse`: images between images. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { checkConcat } from "../../pipeline/concat.ts";
import type { GenerateOptions, Generation, Tensor } from "../../pipeline/types.ts";
import { UsageError } from "../../runtime/errors.ts";
import {
  ALL_FLAGS,
  addCommonFlags,
  addSamplerFlags,
  type CommonFlags,
  numbers,
  refuseFlags,
  type SamplerFlags,
  seed,
  whole,
} from "../flags.ts";
import type { Io, Terminal } from "../io.ts";
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
  writeGeneration,
} from "../operation.ts";
import { type Session, withPipeline } from "../session.ts";
import { readNoise } from "../tensorFiles.ts";

interface InterpolateFlags extends CommonFlags, PictureFlags, OperationFlags, SamplerFlags {
  seeds?: bigint[];
  latents?: string;
  at?: number[];
  count?: number;
}

interface FuseFlags
  extends CommonFlags,
    PictureFlags,
    Pick<OperationFlags, (typeof PATH_FLAGS)[number]>,
    Pick<SamplerFlags, PathSampler> {
  mix: number[];
}

const seeds = (text: string) => {
  const list = text.split(",").map((part) => seed(part.trim()));
  if (list.length !== 2 && list.length !== 4) throw new InvalidArgumentError("expected two seeds or four");
  return list;
};

export function addInterpolate(program: Command, io: Io): void {
  const command = program
    .command("interpolate")
    .summary("images between seeds, latents or images")
    .description("Walks on the great circle between two latents: a line; or over the patch between four: a grid.")
    .argument("[image...]", "two or four PNG, JPEG or WebP files, which are inverted")
    .option("--seeds <a,b[,c,d]>", "latents are the starting noise of these seeds", seeds)
    .option("--latents <file>", "safetensors whose x_T holds two latents or four")
    .option("--at <list>", "places on the way, 0 to 1 (default: -n of them)", numbers)
    .option("-n, --count <n>", "images of a line, or on each side of a grid (default: 8)", whole(2))
    .addHelpText("after", "\nExample:\n  $ ddim interpolate --seeds 1,2 --at 0,.2,.4,.5,.6,.8,1 -o line.png");
  addOperationFlags(addPictureFlags(command, "interpolation.png"), ["seed", ...PATH_FLAGS]);
  addCommonFlags(addSamplerFlags(command), ALL_FLAGS);
  command.action((paths: string[], flags: InterpolateFlags) => {
    if (flags.at) refuseFlags(command, ["count"], "--at lists the places");
    if (paths.length === 0) refuseFlags(command, ["fit", "maxPixels"], "no pictures are read");
    return interpolate(paths, flags, io);
  });
}

export function addFuse(program: Command, io: Io): void {
  const command = program
    .command("fuse")
    .summary("style fusion of two images")
    .description("Inverts two images, mixes their latents on the great circle, and samples the mixtures.")
    .argument("<a>", "PNG, JPEG or WebP file")
    .argument("<b>", "PNG, JPEG or WebP file")
    .addOption(
      new Option("--mix <list>", "fractions of the second image")
        .argParser(numbers)
        .default([0.2, 0.5, 0.8], ".2,.5,.8"),
    )
    .addHelpText("after", "\nExample:\n  $ ddim fuse a.png b.png --mix .2,.5,.8 -o fused.png");
  addOperationFlags(addPictureFlags(command, "fusion.png"), PATH_FLAGS);
  addCommonFlags(addSamplerFlags(command, PATH_SAMPLER), ALL_FLAGS);
  command.action((a: string, b: string, flags: FuseFlags) => fuse([a, b], flags, io));
}

const parts = ({ shape: [n = 0, ...shape], data }: Tensor): Tensor[] =>
  Array.from({ length: n }, (_, i) => ({
    shape: [1, ...shape],
    data: data.slice((i * data.length) / n, ((i + 1) * data.length) / n),
  }));

async function interpolate(paths: readonly string[], flags: InterpolateFlags, io: Io): Promise<void> {
  const given = [paths.length > 0, flags.seeds !== undefined, flags.latents !== undefined];
  if (given.filter(Boolean).length !== 1)
    throw new UsageError("seeds", "say what to go between: images, --seeds or --latents, one of them");
  const prepared = await prepareOperation(flags, io);
  const { terminal, model } = prepared;
  const options = await operationOptions(flags, prepared);
  checkConcat(model, options);
  const images = paths.length > 0 ? await readImages(paths, prepared, flags) : undefined;
  const latents = flags.latents === undefined ? undefined : await readNoise(flags.latents, io.signal);
  const count = flags.seeds?.length ?? (images ?? latents)?.shape[0];
  if (count !== 2 && count !== 4)
    throw new UsageError("latents", `interpolation goes between two latents or four, got ${count}`);
  await withPipeline(terminal, flags, { model }, async (session) => {
    const found =
      images &&
      (await session.pipeline.invert(images, { ...pathOptions(options), onStep: shower(session, "inverting") }));
    const corners = flags.seeds ?? parts((found?.latents ?? latents) as Tensor);
    // Latents of images go the way back that was inverted: without clipping.
    const back = images ? { clip: options.clip ?? false, threshold: options.threshold ?? null } : {};
    const classes = options.classes ?? found?.classes ?? undefined;
    const chosen = { ...options, ...back, seed: flags.seed ?? 0n, classes };
    const onStep = shower(session, "sampling");
    const made = await session.pipeline.interpolate(corners, { ...chosen, at: flags.at, n: flags.count, onStep });
    const side = count === 4 ? Math.sqrt(made.images.length) : made.images.length;
    const lines = made.images.map((_, i) => Math.floor(i / side));
    await finish(flags, chosen, session, terminal, made, lines);
  });
}

async function fuse(paths: readonly [string, string], flags: FuseFlags, io: Io): Promise<void> {
  const prepared = await prepareOperation(flags, io);
  const { terminal, model } = prepared;
  const options = pathOptions(await operationOptions(flags, prepared));
  checkConcat(model, options);
  const [a, b] = parts(await readImages(paths, prepared, flags)) as [Tensor, Tensor];
  await withPipeline(terminal, flags, { model }, async (session) => {
    const onStep = shower(session, "fusing");
    const made = await session.pipeline.fuse(a, b, { ...options, mix: flags.mix, onStep });
    await finish(
      flags,
      // Latents of images go the way back that was inverted, as `fuse` does.
      { ...options, clip: options.clip ?? false, threshold: options.threshold ?? null },
      session,
      terminal,
      made,
      made.images.map(() => 0),
    );
  });
}

async function finish(
  flags: PictureFlags & CommonFlags & Pick<OperationFlags, "guidance"> & SamplerFlags,
  options: GenerateOptions,
  session: Session,
  terminal: Terminal,
  made: Generation,
  lines: readonly number[],
): Promise<void> {
  await writeGeneration(flags, made, options, session, terminal, lines);
  const { images, steps, ms, warnings } = made;
  if (flags.json)
    terminal.json({
      output: flags.output,
      count: images.length,
      steps,
      ms_total: ms.total,
      adapter: session.pipeline.device.name,
      warnings,
    });
}
