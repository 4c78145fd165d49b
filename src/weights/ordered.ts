/**
 * A file of a server that gives whole files only, too large to be kept: one body, read in order, as a model is loaded. A
 * place before the one that was read last costs another request.
 */

import { FileError } from "../runtime/errors.ts";
import type { Answer } from "./requests.ts";
import { CHANGED, checkRange } from "./source.ts";

/** Bytes behind the reading place that are kept: a header is read in one piece with the first tensors. */
const KEPT_BYTES = 2 ** 20;

/** A body that nobody reads for so long is closed, as the model has been loaded. */
const IDLE_MS = 10_000;

interface File {
  /** In the source. */
  readonly path: string;
  /** For messages. */
  readonly file: string;
  readonly size: number;
  /** Asks for the file from its beginning, again where that fails. */
  open<T>(signal: AbortSignal | undefined, use: (answer: Answer) => Promise<T>): Promise<T>;
  /** @throws FileError for the answer of another file than the first */
  check(response: Response): void;
}

export class OrderedBody {
  readonly path: string;
  #answer: Answer | undefined;
  #position = 0;
  /** The last pieces, which end at the position. */
  #kept: Uint8Array[] = [];
  #keptBytes = 0;
  #idle: ReturnType<typeof setTimeout> | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  /** @param answer the file's, of which nothing was read yet */
  constructor(
    private readonly of: File,
    answer: Answer,
  ) {
    this.path = of.path;
    this.#answer = answer;
    this.#rest();
  }

  /** Fills `target` with the bytes from `start` on, when it is its turn. */
  readInto(start: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    const reading = this.#turn.then(() => this.#read(start, target, signal));
    this.#turn = reading.catch(() => {});
    return reading;
  }

  close(): void {
    clearTimeout(this.#idle);
    this.#answer?.cancel();
    this.#answer = undefined;
  }

  async #read(start: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    checkRange(this.of.file, start, start + target.byteLength, this.of.size);
    clearTimeout(this.#idle);
    try {
      if (this.#answer && start >= this.#position - this.#keptBytes)
        try {
          return await this.#fill(start, target, signal);
        } catch (error) {
          // Broken off: from the beginning.
          signal?.throwIfAborted();
          if (error instanceof FileError) throw error;
        }
      this.close();
      await this.of.open(signal, async (answer) => {
        try {
          this.of.check(answer.response);
        } catch (error) {
          await answer.cancel();
          throw error;
        }
        this.#answer = answer;
        this.#position = 0;
        this.#kept = [];
        this.#keptBytes = 0;
        await this.#fill(start, target, signal);
      });
    } finally {
      this.#rest();
    }
  }

  async #fill(start: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    const end = start + target.byteLength;
    const take = (piece: Uint8Array, at: number) => {
      const part = piece.subarray(Math.max(0, start - at), Math.max(0, end - at));
      if (part.byteLength > 0) target.set(part, Math.max(start, at) - start);
    };
    let at = this.#position - this.#keptBytes;
    for (const piece of this.#kept) {
      take(piece, at);
      at += piece.byteLength;
    }
    while (this.#position < end) {
      signal?.throwIfAborted();
      const piece = await this.#answer?.next();
      if (!piece || this.#position + piece.byteLength > this.of.size) throw new FileError(this.of.file, CHANGED);
      take(piece, this.#position);
      this.#position += piece.byteLength;
      this.#kept.push(piece);
      this.#keptBytes += piece.byteLength;
      while (this.#keptBytes - (this.#kept[0]?.byteLength ?? 0) >= KEPT_BYTES)
        this.#keptBytes -= (this.#kept.shift() as Uint8Array).byteLength;
    }
  }

  #rest(): void {
    clearTimeout(this.#idle);
    if (this.#answer && this.#position < this.of.size) this.#idle = setTimeout(() => this.close(), IDLE_MS);
  }
}
