/** Runs in the middle, as safetensors files: `--save-state` and `--resume`. */
import { basename, dirname } from "node:path";
import { folderSource } from "../node/folder.ts";
import { damageOf } from "../pipeline/saved.ts";
import type { SavedRun, Step } from "../pipeline/types.ts";
import { FileError } from "../runtime/errors.ts";
import { type Checkpoint, openSafetensors } from "../weights/checkpoint.ts";
import { encodeSafetensors } from "../weights/encode.ts";
import { fileFailure, writeFile } from "./output.ts";

const KEYWORD = "ddim-webgpu-run";
/** What the beginning of a saved run holds; damage in one place leaves one of them. */
const MARKS = [KEYWORD, "fingerprint"];
const HEAD_BYTES = 4096;
/** Steps are kept no more often than this: reading back makes the GPU wait. */
const EVERY_MS = 1000;

/**
 * Keeps a run in a file: the first step, then at most one a second, the last of a batch, and the one at an interruption. Where that
 * cannot be written the run goes on, and later steps are tried.
 */
export class StateKeeper {
  #last = Number.NEGATIVE_INFINITY;
  #isKept = false;
  /** Whether the run is further than the file. */
  #isBehind = false;
  #failure: FileError | undefined;
  readonly #run = new AbortController();

  /** @param interruption for which the run is kept */
  constructor(
    private readonly path: string,
    private readonly interruption: AbortSignal,
    private readonly warn: (text: string) => void,
  ) {
    interruption.addEventListener("abort", () => this.#isBehind || this.#end(), { once: true });
    if (interruption.aborted) this.#end();
  }

  /** Ends the run at the interruption, once its last step is kept: at once where a step takes long. */
  get signal(): AbortSignal {
    return this.#run.signal;
  }

  /** Why the file is not what it should be, at this moment. */
  get failure(): FileError | undefined {
    return this.#failure;
  }

  /** What there is to go on from, for people. */
  get kept(): string | undefined {
    const old = this.#isKept ? ", so it has an earlier step" : "";
    if (this.#failure) return this.#failure.message + old;
    return this.#isKept ? `--resume ${this.path} goes on` : undefined;
  }

  #end(): void {
    this.#run.abort(this.interruption.reason);
  }

  async step(step: Step): Promise<void> {
    this.#isBehind = true;
    const isLast = step.index === step.of - 1 || this.interruption.aborted;
    if (!isLast && performance.now() - this.#last < EVERY_MS) return;
    const saved = await step.save();
    this.#failure = await fileFailure(() => writeState(this.path, saved));
    if (this.#failure) this.warn(`${this.#failure.message}; the run goes on without`);
    this.#isKept ||= !this.#failure;
    this.#isBehind = this.#failure !== undefined;
    this.#last = performance.now();
    if (this.interruption.aborted) this.#end();
  }
}

const TENSORS = ["state", "history", "done"] as const;

/** @throws FileError; then the file is as it was before */
export function writeState(path: string, { state, history, done, ...numbers }: SavedRun): void {
  const flat = (data: Float32Array) => ({ shape: [data.length], data });
  const text = JSON.stringify({ ...numbers, seed: String(numbers.seed) });
  const tensors = { state, history: flat(history), done: flat(done) };
  writeFile(path, encodeSafetensors(tensors, { [KEYWORD]: text }));
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
