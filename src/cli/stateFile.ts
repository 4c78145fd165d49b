/** Runs in the middle, as safetensors files: `--save-state` and `--resume`. */
import { basename, dirname } from "node:path";
import { folderSource } from "../node/folder.ts";
import { damageOf } from "../pipeline/saved.ts";
import type { SavedRun, Step } from "../pipeline/types.ts";
import { FileError } from "../runtime/errors.ts";
import { type Checkpoint, openSafetensors } from "../weights/checkpoint.ts";
import { encodeSafetensors } from "../weights/encode.ts";
import { writeFile } from "./output.ts";

const KEYWORD = "ddim-webgpu-run";
/** What the beginning of a saved run holds; damage in one place leaves one of them. */
const MARKS = [KEYWORD, "fingerprint"];
const HEAD_BYTES = 4096;
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

const TENSORS = ["state", "history", "done"] as const;

function encodeState({ state, history, done, ...numbers }: SavedRun): Uint8Array {
  const flat = (data: Float32Array) => ({ dtype: "F32", shape: [data.length], data }) as const;
  const text = JSON.stringify({ ...numbers, seed: String(numbers.seed) });
  return encodeSafetensors(
    { state: { dtype: "F32", ...state }, history: flat(history), done: flat(done) },
    { [KEYWORD]: text },
  );
}

const damaged = (path: string, why: string) => new FileError(path, `is damaged: ${why}; start the run again`);

/** @throws FileError when the file is no saved run, or a damaged one */
export async function readState(path: string, signal: AbortSignal): Promise<SavedRun> {
  const source = folderSource(dirname(path));
  const name = basename(path);
  let saved: SavedRun | undefined;
  try {
    saved = await decodeState(await openSafetensors(source, name, signal), signal);
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    // What cannot be read at all may never have been a saved run.
    const end = Math.min(await source.size(name, signal), HEAD_BYTES);
    const head = Buffer.from(await source.read(name, { start: 0, end }, signal));
    throw MARKS.some((mark) => head.includes(mark)) ? damaged(path, error.problem) : error;
  }
  if (!saved) throw new FileError(path, "is no saved run: --save-state writes one");
  const why = damageOf(saved);
  if (why) throw damaged(path, why);
  return saved;
}

/** @returns undefined for a file of something else. Fields are as they are in the file, whatever that is. */
async function decodeState(file: Checkpoint, signal: AbortSignal): Promise<SavedRun | undefined> {
  const text = file.metadata[KEYWORD];
  if (text === undefined && !TENSORS.every((name) => file.tensors.has(name))) return undefined;
  const foreign = TENSORS.find((name) => file.info(name).dtype !== "F32");
  if (foreign) throw new FileError(file.file, `${foreign} is ${file.info(foreign).dtype}, not F32`);
  const { seed, ...numbers } = fieldsOf(text);
  const state = { shape: file.info("state").shape, data: await file.read("state", signal) };
  const [history, done] = [await file.read("history", signal), await file.read("done", signal)];
  const whole = typeof seed === "string" && /^\d{1,20}$/.test(seed) ? BigInt(seed) : undefined;
  return { ...(numbers as unknown as SavedRun), seed: whole as bigint, state, history, done };
}

function fieldsOf(text = ""): Record<string, unknown> {
  try {
    return Object(JSON.parse(text)) as Record<string, unknown>;
  } catch {
    return {};
  }
}
