/** The flags of `ddim sample` as options of the library; reads the files that they name. */
import type { Model } from "../pipeline/model.ts";
import type { GenerateOptions } from "../pipeline/types.ts";
import { parseClasses } from "./classFlag.ts";
import { batchSize, samplerOptions } from "./flags.ts";
import type { SampleFlags } from "./sampleFlags.ts";
import { readState } from "./stateFile.ts";
import { readConcat, readContexts, readNoise } from "./tensorFiles.ts";

const guides = (guidance: number | readonly number[]) => [guidance].flat().some((w) => w !== 1);

/** @throws UsageError, FileError */
export async function generateOptions(flags: SampleFlags, model: Model, signal: AbortSignal): Promise<GenerateOptions> {
  const classes = (text: string | undefined) => (text === undefined ? undefined : parseClasses(text, model.labels));
  const { nonFinite } = flags;
  return {
    ...samplerOptions(flags),
    count: flags.count,
    firstImage: flags.firstImage,
    size: flags.size,
    batch: batchSize(flags.batch),
    seed: flags.seed,
    rng: flags.rng,
    classes: classes(flags.class),
    guidance: flags.guidance,
    guidanceInterval: flags.guidanceInterval,
    guidanceRescale: flags.guidanceRescale,
    negativeClass: classes(flags.negativeClass)?.[0],
    ...(flags.context === undefined
      ? {}
      : await readContexts(flags.context, { model, guided: guides(flags.guidance), nonFinite }, signal)),
    concat: flags.concat === undefined ? undefined : await readConcat(flags.concat, { model, nonFinite }, signal),
    antithetic: flags.antithetic,
    resume: flags.resume === undefined ? undefined : await readState(flags.resume, signal),
    noise: flags.noise === undefined ? undefined : await readNoise(flags.noise, signal),
    signal,
  };
}
