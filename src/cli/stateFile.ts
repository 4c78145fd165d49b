/** Runs in the middle, as safetensors files: `--save-state` and `--resume`. */
import { openSafetensorsFile } from "../node/folder.ts";
import type { SavedRun, Step } from "../pipeline/types.ts";
import { FileError } from "../runtime/errors.ts";
import { encodeSafetensors } from "../weights/encode.ts";
import { writeFile } from "./output.ts";

const KEYWORD = "ddim-webgpu-run";
/** Steps are kept no more often than this: reading back makes the GPU wait. */
const EVERY_MS = 1000;

/** Keeps a run in a file: the first step, then at most one a second, the last of a batch, and the one at Ctrl-C. */
export class StateKeeper {
  #last = Number.NEGATIVE_INFINITY;

  constructor(private readonly path: string) {}

  async step(step: Step, signal?: AbortSignal): Promise<void> {
    const final = step.index === step.of - 1 || signal?.aborted;
    if (!final && performance.now() - this.#last < EVERY_MS) return;
    writeFile(this.path, encodeState(await step.save()));
    this.#last = performance.now();
  }
}

function encodeState({ state, history, done, ...numbers }: SavedRun): Uint8Array {
  const flat = (data: Float32Array) => ({ dtype: "F32", shape: [data.length], data }) as const;
  const text = JSON.stringify({ ...numbers, seed: String(numbers.seed) });
  return encodeSafetensors(
    { state: { dtype: "F32", ...state }, history: flat(history), done: flat(done) },
    { [KEYWORD]: text },
  );
}

/** @throws FileError when the file is no saved run */
export async function readState(path: string, signal: AbortSignal): Promise<SavedRun> {
  const file = await openSafetensorsFile(path, signal);
  const text = file.metadata[KEYWORD];
  if (text === undefined) throw new FileError(path, "is no saved run: --save-state writes one");
  const { fingerprint, seed, batch, first, row } = JSON.parse(text) as Record<"fingerprint" | "seed", string> &
    Record<"batch" | "first" | "row", number>;
  const state = { shape: file.info("state").shape, data: await file.read("state", signal) };
  const [history, done] = [await file.read("history", signal), await file.read("done", signal)];
  return { fingerprint, seed: BigInt(seed), batch, first, row, state, history, done };
}
