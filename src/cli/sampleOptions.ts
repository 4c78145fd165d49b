/** The flags of `ddim sample` as options of the library; reads the files that they name. */
import type { GenerateOptions } from "../pipeline/types.ts";
import { parseClasses } from "./classFlag.ts";
import { operationOptions, type Prepared } from "./operation.ts";
import type { SampleFlags } from "./sampleFlags.ts";
import { readState } from "./stateFile.ts";
import { readNoise } from "./tensorFiles.ts";

/** @throws UsageError, FileError */
export async function generateOptions(flags: SampleFlags, prepared: Prepared): Promise<GenerateOptions> {
  const { negativeClass, resume, noise } = flags;
  const { signal } = prepared.terminal.io;
  return {
    ...(await operationOptions(flags, prepared)),
    count: flags.count,
    firstImage: flags.firstImage,
    size: flags.size,
    seed: flags.seed,
    rng: flags.rng,
    guidanceInterval: flags.guidanceInterval,
    guidanceRescale: flags.guidanceRescale,
    negativeClass: negativeClass === undefined ? undefined : parseClasses(negativeClass, prepared.model.labels)[0],
    antithetic: flags.antithetic,
    resume: resume === undefined ? undefined : await readState(resume, signal),
    noise: noise === undefined ? undefined : await readNoise(noise, signal),
  };
}
