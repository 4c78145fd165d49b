/**
 * Reads a pickle, protocols 0 to 5, without running anything in it (Python's `Lib/pickletools.py` defines the opcodes).
 * What its globals mean is the caller's affair. The machine does not recurse, and counts what it is made to do: a pickle
 * of a few bytes can ask for any amount of work.
 */

import { FileError } from "../../runtime/errors.ts";
import { type Bytes, slice } from "./bytes.ts";
import { Dict, Global, LongText, Stub } from "./values.ts";

/** What names mean. All are called in the order of the pickle. */
export interface Meanings {
  call(callee: unknown, args: readonly unknown[], budget: Budget): unknown;
  /** What `__setstate__` would do. */
  build(object: unknown, state: unknown): void;
  persistent(id: unknown): unknown;
}

/** Texts and bytes up to this length are read, longer ones are left in the file. */
const SHORT_BYTES = 64 * 1024;
const WINDOW_BYTES = 512 * 1024;
/** Real checkpoints of 2000 tensors take 200 000 opcodes, with an optimizer's state three times as many. */
const MAX_OPCODES = 3_000_000;
const MAX_OBJECTS = 400_000;
const MAX_ITEMS = 3_000_000;
const MAX_BYTES = 64 * 2 ** 20;
/** Of the stack, of its marks, and of what is named for later. */
const MAX_DEPTH = 500_000;
const MAX_INTEGER_BYTES = 256;

/** What one pickle may still cost. */
export class Budget {
  #objects = MAX_OBJECTS;
  #items = MAX_ITEMS;
  #bytes = MAX_BYTES;

  constructor(private readonly file: string) {}

  /** @throws FileError when it is more than any checkpoint needs */
  spend(cost: { objects?: number; items?: number; bytes?: number }): void {
    this.#objects -= cost.objects ?? 0;
    this.#items -= cost.items ?? 0;
    this.#bytes -= cost.bytes ?? 0;
    if (this.#objects < 0 || this.#items < 0 || this.#bytes < 0)
      throw new FileError(this.file, "asks for more objects than any checkpoint has: it is not read on");
  }
}

/** Thrown where the window ends before an opcode's operands do. */
const MORE = Symbol("more");

/**
 * @param at where the pickle begins
 * @param file named in errors
 * @returns its object, and where the byte behind it is
 * @throws FileError for what is no pickle, is cut off, damaged, or a bomb
 */
export async function unpickle(
  bytes: Bytes,
  at: number,
  meanings: Meanings,
  file: string,
  signal?: AbortSignal,
): Promise<{ value: unknown; end: number }> {
  const machine = new Machine(bytes, at, meanings, file);
  while (!machine.run()) {
    signal?.throwIfAborted();
    await machine.refill(signal);
  }
  return { value: machine.result, end: machine.position };
}

class Machine {
  result: unknown;
  #window = new Uint8Array(0);
  #view = new DataView(new ArrayBuffer(0));
  /** Where in the bytes the window begins, and where in the window the machine is. */
  #base: number;
  #at = 0;
  #opcodes = 0;
  readonly #stack: unknown[] = [];
  /** Where in the stack the marks are. */
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, unknown>();
  readonly #budget: Budget;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });

  constructor(
    private readonly bytes: Bytes,
    start: number,
    private readonly meanings: Meanings,
    private readonly file: string,
  ) {
    this.#base = start;
    this.#budget = new Budget(file);
  }

  get position(): number {
    return this.#base + this.#at;
  }

  async refill(signal?: AbortSignal): Promise<void> {
    const base = this.position;
    const whole = this.#at === 0 && this.#window.byteLength > 0;
    if (whole || base >= this.bytes.size) throw new FileError(this.file, "is cut off inside a pickle");
    this.#budget.spend({ bytes: Math.min(this.#at, this.#window.byteLength) });
    const window = new Uint8Array(Math.min(WINDOW_BYTES, this.bytes.size - base));
    await this.bytes.readInto(base, window, signal);
    [this.#window, this.#view, this.#base, this.#at] = [window, new DataView(window.buffer), base, 0];
  }

  /** Goes on to the end of the pickle (true) or of the window (false). */
  run(): boolean {
    for (;;) {
      const start = this.#at;
      try {
        if (++this.#opcodes > MAX_OPCODES) this.#fail("asks for more work than any checkpoint does");
        if (this.#step(this.#uint(1))) return true;
      } catch (error) {
        if (error !== MORE) throw error;
        // Operands come before effects, so the opcode can be begun again.
        this.#at = start;
        this.#opcodes--;
        return false;
      }
    }
  }

  #fail(problem: string): never {
    throw new FileError(this.file, `${problem} (byte ${this.position} of a pickle)`);
  }

  #uint(size: 1 | 2 | 4 | 8): number {
    const at = this.#at;
    if (at + size > this.#window.byteLength) throw MORE;
    this.#at += size;
    if (size === 1) return this.#window[at] as number;
    if (size === 2) return this.#view.getUint16(at, true);
    const low = this.#view.getUint32(at, true);
    return size === 4 ? low : this.#view.getUint32(at + 4, true) * 2 ** 32 + low;
  }

  #float(): number {
    if (this.#at + 8 > this.#window.byteLength) throw MORE;
    this.#at += 8;
    return this.#view.getFloat64(this.#at - 8, false);
  }

  /** `size` bytes as they are; long ones stay where they are. */
  #take(size: number): Uint8Array | Bytes {
    if (this.position + size > this.bytes.size) this.#fail("is cut off: a text or array is longer than the file");
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

  #text(size: number): string | LongText {
    const bytes = this.#take(size);
    if (!(bytes instanceof Uint8Array)) return new LongText(bytes);
    return this.#decode(bytes) ?? this.#fail("is damaged: a text is not UTF-8");
  }

  #decode(bytes: Uint8Array): string | undefined {
    try {
      return this.#decoder.decode(bytes);
    } catch {
      return undefined;
    }
  }

  /** Python 2's str is a text or bytes, which only the reader knows: a text where it can be one. */
  #string(size: number): unknown {
    const bytes = this.#take(size);
    return bytes instanceof Uint8Array ? (this.#decode(bytes) ?? bytes) : bytes;
  }

  /** Up to the line's end. */
  #line(): string {
    const end = this.#window.indexOf(0x0a, this.#at);
    if (end < 0 || end - this.#at > SHORT_BYTES) {
      if (this.#window.byteLength - this.#at > SHORT_BYTES) this.#fail("is no pickle: a line has no end");
      throw MORE;
    }
    const bytes = this.#window.subarray(this.#at, end);
    this.#at = end + 1;
    return this.#decode(bytes) ?? this.#fail("is no pickle: a line is not text");
  }

  /** A little-endian two's complement integer. */
  #integer(size: number): number | bigint {
    if (size > MAX_INTEGER_BYTES) this.#fail(`holds an integer of ${size} bytes`);
    const bytes = this.#take(size) as Uint8Array;
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i] as number);
    return narrow(BigInt.asIntN(8 * size, value));
  }

  #decimal(text: string): number | bigint | boolean {
    if (text === "00" || text === "01") return text === "01";
    if (!/^[+-]?\d+L?$/.test(text) || text.length > 2 * MAX_INTEGER_BYTES) this.#fail("is no pickle: a number is none");
    return narrow(BigInt(text.replace(/^\+|L$/g, "")));
  }

  #push(value: unknown): void {
    if (this.#stack.length >= MAX_DEPTH) this.#fail("asks for more objects than any checkpoint has");
    this.#stack.push(value);
  }

  #pop(): unknown {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) this.#fail("is damaged: it takes what was not given");
    return this.#stack.pop();
  }

  #top(): unknown {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) this.#fail("is damaged: it takes what was not given");
    return this.#stack.at(-1);
  }

  /** What lies above the last mark, without the mark. */
  #popMark(): unknown[] {
    const mark = this.#marks.pop();
    if (mark === undefined) this.#fail("is damaged: it ends what was not begun");
    const items = this.#stack.splice(mark);
    this.#budget.spend({ items: items.length });
    return items;
  }

  #new<T>(object: T): void {
    this.#budget.spend({ objects: 1 });
    this.#push(object);
  }

  #tuple(count: number): void {
    const items: unknown[] = [];
    for (let i = 0; i < count; i++) items.unshift(this.#pop());
    this.#budget.spend({ items: count });
    this.#new(items);
  }

  #append(items: readonly unknown[]): void {
    const list = this.#top();
    if (list instanceof Stub) return;
    if (!Array.isArray(list)) this.#fail("is damaged: it appends to what is no list");
    for (const item of items) list.push(item);
  }

  #set(items: readonly unknown[]): void {
    if (items.length % 2 !== 0) this.#fail("is damaged: a key has no value");
    const dict = this.#top();
    if (dict instanceof Stub) return;
    if (!(dict instanceof Dict)) this.#fail("is damaged: it puts keys into what is no dict");
    for (const item of items) dict.items.push(item);
  }

  #dict(items: readonly unknown[]): void {
    this.#new(new Dict());
    this.#set(items);
  }

  #global(module: unknown, name: unknown): void {
    if (typeof module !== "string" || typeof name !== "string") this.#fail("is damaged: a class has no name");
    this.#new(new Global(`${module}.${name}`));
  }

  #call(callee: unknown, args: unknown): void {
    if (!Array.isArray(args)) this.#fail("is damaged: it calls without arguments");
    if (!(callee instanceof Global || callee instanceof Stub)) this.#fail("is damaged: it calls what is no function");
    this.#new(callee instanceof Stub ? callee : this.meanings.call(callee, args, this.#budget));
  }

  #get(index: number | bigint | boolean): void {
    const value = this.#memo.get(Number(index));
    if (value === undefined) this.#fail("is damaged: it refers to what it has not named");
    this.#push(value);
  }

  #put(index: number | bigint | boolean): void {
    if (this.#memo.size >= MAX_DEPTH) this.#fail("asks for more objects than any checkpoint has");
    this.#memo.set(Number(index), this.#top());
  }

  /** Runs an opcode. @returns whether it was the last */
  #step(opcode: number): boolean {
    switch (opcode) {
      case 0x80: // PROTO
        if (this.#uint(1) > 5) this.#fail("is a pickle of a protocol above 5, or none");
        break;
      case 0x95: // FRAME
        this.#uint(8);
        break;
      case 0x2e: // STOP
        this.result = this.#pop();
        return true;
      case 0x28: // MARK
        if (this.#marks.length >= MAX_DEPTH) this.#fail("asks for more objects than any checkpoint has");
        this.#marks.push(this.#stack.length);
        break;
      case 0x30: // POP, of a mark too
        if (this.#stack.length === this.#marks.at(-1)) this.#marks.pop();
        else this.#pop();
        break;
      case 0x31: // POP_MARK
        this.#popMark();
        break;
      case 0x32: // DUP
        this.#push(this.#top());
        break;
      case 0x4e: // NONE
        this.#push(null);
        break;
      case 0x88: // NEWTRUE
        this.#push(true);
        break;
      case 0x89: // NEWFALSE
        this.#push(false);
        break;
      case 0x49: // INT
      case 0x4c: // LONG
        this.#push(this.#decimal(this.#line()));
        break;
      case 0x4a: // BININT
        this.#push(this.#uint(4) | 0);
        break;
      case 0x4b: // BININT1
        this.#push(this.#uint(1));
        break;
      case 0x4d: // BININT2
        this.#push(this.#uint(2));
        break;
      case 0x8a: // LONG1
        this.#push(this.#integer(this.#uint(1)));
        break;
      case 0x8b: // LONG4
        this.#push(this.#integer(this.#uint(4)));
        break;
      case 0x46: // FLOAT
        this.#push(pythonFloat(this.#line()) ?? this.#fail("is no pickle: a number is none"));
        break;
      case 0x47: // BINFLOAT
        this.#push(this.#float());
        break;
      case 0x8c: // SHORT_BINUNICODE
        this.#push(this.#text(this.#uint(1)));
        break;
      case 0x58: // BINUNICODE
        this.#push(this.#text(this.#uint(4)));
        break;
      case 0x8d: // BINUNICODE8
        this.#push(this.#text(this.#uint(8)));
        break;
      case 0x56: // UNICODE
        this.#push(unescaped(this.#line()));
        break;
      case 0x53: // STRING
        this.#push(unquoted(this.#line()) ?? this.#fail("is no pickle: a text has no quotes"));
        break;
      case 0x55: // SHORT_BINSTRING
        this.#push(this.#string(this.#uint(1)));
        break;
      case 0x54: // BINSTRING
        this.#push(this.#string(this.#uint(4)));
        break;
      case 0x43: // SHORT_BINBYTES
        this.#push(this.#take(this.#uint(1)));
        break;
      case 0x42: // BINBYTES
        this.#push(this.#take(this.#uint(4)));
        break;
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        this.#push(this.#take(this.#uint(8)));
        break;
      case 0x98: // READONLY_BUFFER
        break;
      case 0x5d: // EMPTY_LIST
      case 0x29: // EMPTY_TUPLE
      case 0x8f: // EMPTY_SET
        this.#new([]);
        break;
      case 0x6c: // LIST
      case 0x74: // TUPLE
      case 0x91: // FROZENSET
        this.#new(this.#popMark());
        break;
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        this.#tuple(opcode - 0x84);
        break;
      case 0x61: // APPEND
        this.#budget.spend({ items: 1 });
        this.#append([this.#pop()]);
        break;
      case 0x65: // APPENDS
      case 0x90: // ADDITEMS
        this.#append(this.#popMark());
        break;
      case 0x7d: // EMPTY_DICT
        this.#dict([]);
        break;
      case 0x64: // DICT
        this.#dict(this.#popMark());
        break;
      case 0x73: {
        // SETITEM
        const value = this.#pop();
        this.#budget.spend({ items: 2 });
        this.#set([this.#pop(), value]);
        break;
      }
      case 0x75: // SETITEMS
        this.#set(this.#popMark());
        break;
      case 0x63: // GLOBAL
        this.#global(...this.#twoLines());
        break;
      case 0x93: {
        // STACK_GLOBAL
        const name = this.#pop();
        this.#global(this.#pop(), name);
        break;
      }
      case 0x52: // REDUCE
      case 0x81: {
        // NEWOBJ
        const args = this.#pop();
        this.#call(this.#pop(), args);
        break;
      }
      case 0x92: {
        // NEWOBJ_EX, whose keywords nothing here takes
        this.#pop();
        const args = this.#pop();
        this.#call(this.#pop(), args);
        break;
      }
      case 0x69: {
        // INST
        const [module, name] = this.#twoLines();
        const args = this.#popMark();
        this.#call(new Global(`${module}.${name}`), args);
        break;
      }
      case 0x6f: {
        // OBJ
        const [callee, ...args] = this.#popMark();
        this.#call(callee, args);
        break;
      }
      case 0x62: {
        // BUILD
        const state = this.#pop();
        this.meanings.build(this.#top(), state);
        break;
      }
      case 0x50: // PERSID
        this.#new(this.meanings.persistent(this.#line()));
        break;
      case 0x51: // BINPERSID
        this.#new(this.meanings.persistent(this.#pop()));
        break;
      case 0x67: // GET
        this.#get(this.#decimal(this.#line()));
        break;
      case 0x68: // BINGET
        this.#get(this.#uint(1));
        break;
      case 0x6a: // LONG_BINGET
        this.#get(this.#uint(4));
        break;
      case 0x70: // PUT
        this.#put(this.#decimal(this.#line()));
        break;
      case 0x71: // BINPUT
        this.#put(this.#uint(1));
        break;
      case 0x72: // LONG_BINPUT
        this.#put(this.#uint(4));
        break;
      case 0x94: // MEMOIZE
        this.#put(this.#memo.size);
        break;
      default:
        this.#fail(`is no pickle that can be read here: 0x${opcode.toString(16).padStart(2, "0")} is no opcode of one`);
    }
    return false;
  }

  #twoLines(): [string, string] {
    return [this.#line(), this.#line()];
  }
}

const narrow = (value: bigint): number | bigint =>
  value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;

/** Python's spelling of a float. */
function pythonFloat(text: string): number | undefined {
  if (/^[+-]?(inf|nan)$/i.test(text))
    return /nan/i.test(text) ? Number.NaN : text.startsWith("-") ? -Infinity : Infinity;
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : undefined;
}

/** `\uXXXX` and `\UXXXXXXXX` of protocol 0. */
const unescaped = (text: string): string =>
  text.replace(/\\u([0-9a-fA-F]{4})|\\U00([01][0-9a-fA-F]{5})/g, (all, short?: string, long?: string) => {
    const code = Number.parseInt(short ?? long ?? "", 16);
    return code <= 0x10ffff ? String.fromCodePoint(code) : all;
  });

/** A Python literal, of which only the quotes and the commonest escapes matter here. */
function unquoted(text: string): string | undefined {
  const match = /^(['"])(.*)\1$/.exec(text.trim());
  return match?.[2]?.replace(/\\x([0-9a-fA-F]{2})|\\(['"\\])/g, (_, hex?: string, plain?: string) =>
    hex === undefined ? (plain as string) : String.fromCharCode(Number.parseInt(hex, 16)),
  );
}
