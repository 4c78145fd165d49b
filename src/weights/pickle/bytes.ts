/** Bytes that are read when asked for: a part of a file, what such a part inflates to, or bytes at hand. */

import { FileError } from "../../runtime/errors.ts";
import { label } from "../path.ts";
import { checkRange, type ModelSource, readInto } from "../source.ts";

export interface Bytes {
  readonly size: number;
  /** Fills `target` with the bytes from `start` on. @throws FileError; the signal's reason */
  readInto(start: number, target: Uint8Array, signal?: AbortSignal): Promise<void>;
}

/** Small reads are cut out of blocks of this size, so that a header and what follows it are one request. */
const BLOCK_BYTES = 64 * 1024;

/** Compressed bytes are handed to the decompressor in such pieces: each can become a thousand times as much. */
const DEFLATED_PIECE = 16 * 1024;

/** A whole file. Reads of little are served from the block read last. */
export async function fileBytes(source: ModelSource, path: string, signal?: AbortSignal): Promise<Bytes> {
  const size = await source.size(path, signal);
  const file = label(source, path);
  let block = { start: 0, bytes: new Uint8Array(0) };
  return {
    size,
    async readInto(start, target, signal) {
      const end = start + target.byteLength;
      checkRange(file, start, end, size);
      if (target.byteLength >= BLOCK_BYTES) return readInto(source, path, start, target, signal);
      let held = block;
      if (start < held.start || end > held.start + held.bytes.byteLength) {
        held = { start, bytes: new Uint8Array(Math.min(BLOCK_BYTES, size - start)) };
        await readInto(source, path, start, held.bytes, signal);
        block = held;
      }
      target.set(held.bytes.subarray(start - held.start, end - held.start));
    },
  };
}

export function memoryBytes(bytes: Uint8Array): Bytes {
  return {
    size: bytes.byteLength,
    async readInto(start, target) {
      target.set(bytes.subarray(start, start + target.byteLength));
    },
  };
}

/** A part of other bytes, which has to lie inside them. */
export function slice(bytes: Bytes, from: number, size: number): Bytes {
  return { size, readInto: (start, target, signal) => bytes.readInto(from + start, target, signal) };
}

/** All of some bytes. Whoever asks has looked at the size. */
export async function readAll(bytes: Bytes, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
  const all = new Uint8Array(bytes.size);
  await bytes.readInto(0, all, signal);
  return all;
}

/** The bytes of a text, a character of Latin-1 each, of which UTF-8 is stored: Python's way before protocol 3. */
export function latin1Bytes(utf8: Bytes, size: number, file: string): Bytes {
  let decoded: Promise<Uint8Array> | undefined;
  const decode = async (signal?: AbortSignal) => {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await readAll(utf8, signal));
    const bytes = fromLatin1(text);
    if (bytes?.byteLength !== size) throw new FileError(file, "is damaged: an array is not as long as its shape says");
    return bytes;
  };
  return {
    size,
    async readInto(start, target, signal) {
      decoded ??= decode(signal);
      decoded.catch(() => {
        decoded = undefined;
      });
      target.set((await decoded).subarray(start, start + target.byteLength));
    },
  };
}

/** A character of Latin-1 a byte; undefined for a text with others. */
export function fromLatin1(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 0xff) return undefined;
    bytes[i] = code;
  }
  return bytes;
}

/**
 * What deflated bytes inflate to, without holding it: read forwards it is inflated once, going back begins anew.
 * @param size as declared; that it is true shows when the last byte is read
 */
export function inflated(compressed: Bytes, size: number, file: string): Bytes {
  let stream: ReadableStreamDefaultReader<Uint8Array> | undefined;
  let at = 0;
  let rest = new Uint8Array(0);
  let last: Promise<unknown> = Promise.resolve();

  function begin(signal?: AbortSignal): void {
    stream?.cancel().catch(() => {});
    [at, rest] = [0, new Uint8Array(0)];
    let fed = 0;
    const feed = new ReadableStream<Uint8Array<ArrayBuffer>>({
      async pull(controller) {
        const piece = new Uint8Array(Math.min(DEFLATED_PIECE, compressed.size - fed));
        if (piece.byteLength === 0) return controller.close();
        await compressed.readInto(fed, piece, signal);
        fed += piece.byteLength;
        controller.enqueue(piece);
      },
    });
    stream = feed.pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  }

  async function next(): Promise<void> {
    let part: ReadableStreamReadResult<Uint8Array>;
    try {
      part = await stream!.read();
    } catch (cause) {
      stream = undefined;
      if (cause instanceof FileError || (cause as Error)?.name === "AbortError") throw cause;
      throw new FileError(file, "is damaged: a part of the archive cannot be inflated", { cause });
    }
    if (part.done) throw new FileError(file, "is damaged: a part of the archive inflates to less than it says");
    rest = part.value as Uint8Array<ArrayBuffer>;
  }

  async function read(start: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    checkRange(file, start, start + target.byteLength, size);
    if (!stream || start < at) begin(signal);
    for (let filled = 0; filled < target.byteLength; ) {
      signal?.throwIfAborted();
      if (rest.byteLength === 0) await next();
      const skipped = Math.min(rest.byteLength, Math.max(0, start - at));
      const taken = rest.subarray(skipped, skipped + target.byteLength - filled);
      target.set(taken, filled);
      filled += taken.byteLength;
      at += skipped + taken.byteLength;
      rest = rest.subarray(skipped + taken.byteLength) as Uint8Array<ArrayBuffer>;
    }
  }

  return {
    size,
    readInto(start, target, signal) {
      // One after the other: there is one stream.
      const reading = last.then(() => read(start, target, signal));
      last = reading.catch(() => {});
      return reading;
    },
  };
}
