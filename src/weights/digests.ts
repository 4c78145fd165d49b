/**
 * What identifies the bytes of tensors: SHA-256 over the SHA-256 of each of a tensor's chunks of 1 MiB; of a tensor of one
 * chunk that chunk's. It depends neither on the tensor's file and place in it nor on how it is read, and is computed
 * beside the reading, by the platform's own threads.
 */

import type { TensorPiece } from "./stream.ts";

const CHUNK_BYTES = 2 ** 20;

/** Copies of bytes that may wait to be hashed while reading goes on. */
const MOST_PENDING_BYTES = 16 * 2 ** 20;

/** By the name of a tensor: 64 hex digits. Never rejects. */
export type Digests = Map<string, Promise<string>>;

/** Whether this platform hashes: pages without a secure context (https or localhost) have no Web Cryptography. */
export const canDigest = (): boolean => globalThis.crypto?.subtle !== undefined;

/** Lower-case hex digits. */
export const toHex = (bytes: ArrayBuffer): string =>
  Array.from(new Uint8Array(bytes), (b) => b.toString(16).padStart(2, "0")).join("");

export const sha256 = (bytes: Uint8Array): Promise<ArrayBuffer> =>
  crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);

/** SHA-256 of a text, in hex digits. */
export const textDigest = async (text: string): Promise<string> => toHex(await sha256(new TextEncoder().encode(text)));

/** Hashes the tensors of one walk over them, each of which comes whole, its pieces in order. */
export class DigestWalk {
  #chunks: Promise<ArrayBuffer>[] = [];
  /** The beginning of a chunk whose end is still to come. */
  #rest: Uint8Array | undefined;
  #restBytes = 0;
  readonly #pending = new Set<Promise<ArrayBuffer>>();
  #pendingBytes = 0;

  /** @param digests of earlier walks; what is in it is not hashed again, and what is new is added */
  constructor(private readonly digests: Digests) {}

  /** Takes the next piece. Its bytes are copied, so the buffer may be used again at once. */
  add(name: string, { tensor, offset, bytes }: TensorPiece): void {
    if (this.digests.has(name)) return;
    if (offset === 0) {
      this.#chunks = [];
      this.#restBytes = 0;
    }
    for (let at = 0; at < bytes.byteLength; ) {
      const part = bytes.subarray(at, at + CHUNK_BYTES - this.#restBytes);
      at += part.byteLength;
      const whole = part.byteLength === CHUNK_BYTES || offset + at === tensor.end - tensor.start;
      if (this.#restBytes === 0 && whole) {
        this.#hash(part);
        continue;
      }
      this.#rest ??= new Uint8Array(CHUNK_BYTES);
      this.#rest.set(part, this.#restBytes);
      this.#restBytes += part.byteLength;
      if (this.#restBytes < CHUNK_BYTES && !whole) continue;
      this.#hash(this.#rest.subarray(0, this.#restBytes));
      this.#restBytes = 0;
    }
    if (offset + bytes.byteLength < tensor.end - tensor.start) return;
    this.digests.set(name, combined(this.#chunks));
    this.#chunks = [];
  }

  #hash(chunk: Uint8Array): void {
    const size = chunk.byteLength;
    const digest = sha256(chunk);
    this.#chunks.push(digest);
    this.#pending.add(digest);
    this.#pendingBytes += size;
    digest.then(() => {
      this.#pending.delete(digest);
      this.#pendingBytes -= size;
    });
  }

  /** Waits where hashing cannot keep up, so that no more than a few reads are held in memory. */
  async room(): Promise<void> {
    if (this.#pendingBytes > MOST_PENDING_BYTES) await Promise.all(this.#pending);
  }
}

async function combined(chunks: readonly Promise<ArrayBuffer>[]): Promise<string> {
  const digests = await Promise.all(chunks.length > 0 ? chunks : [sha256(new Uint8Array(0))]);
  if (digests.length === 1) return toHex(digests[0] as ArrayBuffer);
  return toHex(await sha256(new Uint8Array(await new Blob(digests).arrayBuffer())));
}
