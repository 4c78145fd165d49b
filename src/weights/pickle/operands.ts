/** A pickle's bytes as operands of its opcodes, through a window that moves along the file. */

import { FileError } from "../../runtime/errors.ts";
import type { Budget } from "./budget.ts";
import { type Bytes, slice } from "./bytes.ts";
import { LongText } from "./values.ts";

/** Texts and bytes up to this length are read, longer ones are left in the file. */
const SHORT_BYTES = 64 * 1024;
const WINDOW_BYTES = 512 * 1024;
const MAX_INTEGER_BYTES = 256;

/** Thrown where the window ends before an opcode's operands do. */
export const MORE = Symbol("more");

export class Operands {
  #window = new Uint8Array(0);
  #view = new DataView(new ArrayBuffer(0));
  /** Where in the bytes the window begins, and where in the window the next operand does. */
  #base: number;
  #at = 0;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });

  /** @param start where the pickle begins */
  constructor(
    private readonly bytes: Bytes,
    start: number,
    private readonly budget: Budget,
    private readonly file: string,
  ) {
    this.#base = start;
  }

  get position(): number {
    return this.#base + this.#at;
  }

  /** Goes back to where an opcode began that is still in the window. */
  rewind(position: number): void {
    this.#at = position - this.#base;
  }

  async refill(signal?: AbortSignal): Promise<void> {
    const base = this.position;
    const whole = this.#at === 0 && this.#window.byteLength > 0;
    if (whole || base >= this.bytes.size) throw new FileError(this.file, "is cut off inside a pickle");
    this.budget.spend({ bytes: Math.min(this.#at, this.#window.byteLength) });
    const window = new Uint8Array(Math.min(WINDOW_BYTES, this.bytes.size - base));
    await this.bytes.readInto(base, window, signal);
    [this.#window, this.#view, this.#base, this.#at] = [window, new DataView(window.buffer), base, 0];
  }

  fail(problem: string): never {
    throw new FileError(this.file, `${problem} (byte ${this.position} of a pickle)`);
  }

  uint(size: 1 | 2 | 4 | 8): number {
    const at = this.#at;
    if (at + size > this.#window.byteLength) throw MORE;
    this.#at += size;
    if (size === 1) return this.#window[at] as number;
    if (size === 2) return this.#view.getUint16(at, true);
    const low = this.#view.getUint32(at, true);
    return size === 4 ? low : this.#view.getUint32(at + 4, true) * 2 ** 32 + low;
  }

  float(): number {
    if (this.#at + 8 > this.#window.byteLength) throw MORE;
    this.#at += 8;
    return this.#view.getFloat64(this.#at - 8, false);
  }

  /** `size` bytes as they are; long ones stay where they are. */
  take(size: number): Uint8Array | Bytes {
    if (this.position + size > this.bytes.size) this.fail("is cut off: a text or array is longer than the file");
    const from = this.#at;
    if (size > SHORT_BYTES) {
      const long = slice(this.bytes, this.position, size);
      this.#at += size;
      return long;
    }
    if (from + size > this.#window.byteLength) throw MORE;
    this.#at += size;
    return this.#window.slice(from, from + size);
  }

  text(size: number): string | LongText {
    const bytes = this.take(size);
    if (!(bytes instanceof Uint8Array)) return new LongText(bytes);
    return this.#decode(bytes) ?? this.fail("is damaged: a text is not UTF-8");
  }

  #decode(bytes: Uint8Array): string | undefined {
    try {
      return this.#decoder.decode(bytes);
    } catch {
      return undefined;
    }
  }

  /** Python 2's str is a text or bytes, which only the reader knows: a text where it can be one. */
  string(size: number): unknown {
    const bytes = this.take(size);
    return bytes instanceof Uint8Array ? (this.#decode(bytes) ?? bytes) : bytes;
  }

  /** Up to the line's end. */
  line(): string {
    const end = this.#window.indexOf(0x0a, this.#at);
    if (end < 0 || end - this.#at > SHORT_BYTES) {
      if (this.#window.byteLength - this.#at > SHORT_BYTES) this.fail("is no pickle: a line has no end");
      throw MORE;
    }
    const bytes = this.#window.subarray(this.#at, end);
    this.#at = end + 1;
    return this.#decode(bytes) ?? this.fail("is no pickle: a line is not text");
  }

  /** A little-endian two's complement integer. */
  integer(size: number): number | bigint {
    if (size > MAX_INTEGER_BYTES) this.fail(`holds an integer of ${size} bytes`);
    const bytes = this.take(size) as Uint8Array;
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i] as number);
    return narrow(BigInt.asIntN(8 * size, value));
  }

  decimal(text: string): number | bigint | boolean {
    if (text === "00" || text === "01") return text === "01";
    if (!/^[+-]?\d+L?$/.test(text) || text.length > 2 * MAX_INTEGER_BYTES) this.fail("is no pickle: a number is none");
    return narrow(BigInt(text.replace(/^\+|L$/g, "")));
  }
}

const narrow = (value: bigint): number | bigint =>
  value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;

/** Python's spelling of a float. */
export function pythonFloat(text: string): number | undefined {
  if (/^[+-]?(inf|nan)$/i.test(text))
    return /nan/i.test(text) ? Number.NaN : text.startsWith("-") ? -Infinity : Infinity;
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : undefined;
}

/** `\uXXXX` and `\UXXXXXXXX` of protocol 0. */
export const unescaped = (text: string): string =>
  text.replace(/\\u([0-9a-fA-F]{4})|\\U00([01][0-9a-fA-F]{5})/g, (all, short?: string, long?: string) => {
    const code = Number.parseInt(short ?? long ?? "", 16);
    return code <= 0x10ffff ? String.fromCodePoint(code) : all;
  });

/** A Python literal, of which only the quotes and the commonest escapes matter here. */
export function unquoted(text: string): string | undefined {
  const match = /^(['"])(.*)\1$/.exec(text.trim());
  return match?.[2]?.replace(/\\x([0-9a-fA-F]{2})|\\(['"\\])/g, (_, hex?: string, plain?: string) =>
    hex === undefined ? (plain as string) : String.fromCharCode(Number.parseInt(hex, 16)),
  );
}
