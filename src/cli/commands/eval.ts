/** `ddim eval`: what a model gets wrong about images, timestep by timestep. */
import type { Command } from "commander";
import { checkConcat } from "../../pipeline/concat.ts";
import { ALL_FLAGS, addCommonFlags, addSamplerFlags, type CommonFlags, type SamplerFlags, seed } from "../flags.ts";
import { type Io, Terminal } from "../io.ts";
import { openFlaggedModel } from "../modelFlag.ts";
import { addOperationFlags, addReadFlags, operationOptions, type ReadFlags, readImages } from "../operation.ts";
import { withPipeline } from "../session.ts";
import { plural, table } from "../table.ts";

const SAMPLER = ["steps", "spacing", "timesteps", "clip"] as const satisfies (keyof SamplerFlags)[];

interface EvalFlags extends CommonFlags, Pick<SamplerFlags, (typeof SAMPLER)[number]>, ReadFlags {
  class?: string;
  concat?: string;
  seed?: bigint;
}

export function addEval(program: Command, io: Io): void {
  const command = program
    .command("eval")
    .summary("errors and variational bound of images")
    .description("Prints, for every timestep, the error of epsilon and of x0, and the term of the variational bound.")
    .argument("<image...>", "PNG, JPEG or WebP files")
    .option("--seed <n>", "of the forward process (default: 0)", seed)
    .addHelpText("after", "\nExample:\n  $ ddim eval face.png -S 100");
  addReadFlags(command, "images of another size than the model's");
  addSamplerFlags(addOperationFlags(command, ["class", "concat"]), SAMPLER);
  addCommonFlags(command, ALL_FLAGS);
  command.action((paths: string[], flags: EvalFlags) => evaluate(paths, flags, io));
}

async function evaluate(paths: readonly string[], flags: EvalFlags, io: Io): Promise<void> {
  const terminal = new Terminal(io, flags);
  const model = await openFlaggedModel(terminal, flags);
  const prepared = { model, terminal };
  const { steps, spacing, timesteps, clip, classes, concat } = await operationOptions(flags, prepared);
  checkConcat(model, { concat });
  const images = await readImages(paths, prepared, flags);
  await withPipeline(terminal, flags, { model }, async ({ pipeline, progress }) => {
    progress.show("evaluating");
    const terms = await pipeline.network.evalTerms(images, {
      ...{ steps, spacing, timesteps, clip, classes, concat },
      seed: flags.seed,
      signal: io.signal,
      onEvaluation: (done, of) => progress.show("evaluating", done, of),
    });
    progress.stop();
    terminal.done(`${plural(paths.length, "image")} evaluated`);
    if (flags.json)
      return terminal.json({
        images: terms.map(({ image, prior, total, steps: own }) => ({
          path: paths[image],
          prior_bpd: prior,
          total_bpd: total,
          steps: own.map((s) => ({ t: s.t, mse: s.mse, x0_mse: s.x0Mse, vlb: s.bound })),
        })),
      });
    for (const { image, prior, total, steps: own } of terms) {
      const cells = own.map((s) => [s.t, ...[s.mse, s.x0Mse, s.bound].map((v) => v.toPrecision(5))]);
      terminal.data(`${paths[image]}: prior ${prior.toPrecision(4)}, total ${total.toPrecision(5)} bits per dimension`);
      terminal.data(table(["t", "mse", "x0_mse", "vlb"], cells));
    }
  });
}
