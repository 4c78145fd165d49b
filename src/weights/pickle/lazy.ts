/** The reader of pickles, loaded with the first of them: most models have none. */
import type { ModelSource } from "../source.ts";
import type { PickleOptions, PickleSource } from "./source.ts";

export type { PickleOptions, PickleSource } from "./source.ts";

/**
 * A model's files, with one of them, a checkpoint of `torch.save`, as the safetensors file that it could be: a header and
 * the tensors behind it. Nothing in the checkpoint is run, and values are read when they are asked for.
 *
 * @param path in `source`
 * @throws FileError for what is no such file, cut off, damaged, a bomb, or holds no weights; UsageError where there is no
 * moving average
 */
export async function pickleSource(source: ModelSource, path: string, options?: PickleOptions): Promise<PickleSource> {
  return (await import("./source.ts")).pickleSource(source, path, options);
}
