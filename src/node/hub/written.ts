/** What there is of a file that is being downloaded. */
import { createHash, type Hash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import type { HubFile } from "./api.ts";

/** The part of a file that is there, and its hash so far. */
export class Written {
  length = 0;
  #hash: Hash;

  constructor(
    private readonly handle: FileHandle,
    private readonly file: HubFile,
  ) {
    this.#hash = this.#begin();
  }

  /** SHA-256 of the bytes, or git's SHA-1, which begins with their number. */
  #begin(): Hash {
    const { hash, size } = this.file;
    return hash.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
  }

  /** Takes what an earlier try left. */
  async readBack(signal?: AbortSignal): Promise<void> {
    const buffer = Buffer.alloc(2 ** 20);
    for (;;) {
      signal?.throwIfAborted();
      const { bytesRead } = await this.handle.read(buffer, 0, buffer.length, this.length);
      if (bytesRead === 0) return;
      this.#hash.update(buffer.subarray(0, bytesRead));
      this.length += bytesRead;
      if (this.length > this.file.size) return this.restart();
    }
  }

  async restart(): Promise<void> {
    this.length = 0;
    this.#hash = this.#begin();
    await this.handle.truncate(0);
  }

  async add(part: Uint8Array): Promise<void> {
    for (let done = 0; done < part.byteLength; ) {
      const { bytesWritten } = await this.handle.write(part, done, part.byteLength - done, this.length + done);
      done += bytesWritten;
    }
    this.#hash.update(part);
    this.length += part.byteLength;
  }

  digest(): string {
    return this.#hash.digest("hex");
  }
}
