/**
 * Reads a pickle, protocols 0 to 5, without running anything in it (Python's `Lib/pickletools.py` defines the opcodes).
 * What its globals mean is the caller's affair. The machine does not recurse, and counts what it is made to do: a pickle
 * of a few bytes can ask for any amount of work.
 */

import { Budget } from "./budget.ts";
import type { Bytes } from "./bytes.ts";
import { MORE, Operands, pythonFloat, unescaped, unquoted } from "./operands.ts";
import { Dict, Global, Stub } from "./values.ts";

/** What names mean. All are called in the order of the pickle. */
export interface Meanings {
  call(callee: unknown, args: readonly unknown[], budget: Budget): unknown;
  /** What `__setstate__` would do. */
  build(object: unknown, state: unknown): void;
  persistent(id: unknown): unknown;
}

/** Real checkpoints of 2000 tensors take 200 000 opcodes, with an optimizer's state three times as many. */
const MAX_OPCODES = 3_000_000;
/** Of the stack, of its marks, and of what is named for later. */
const MAX_DEPTH = 500_000;

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
  #opcodes = 0;
  readonly #stack: unknown[] = [];
  /** Where in the stack the marks are. */
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, unknown>();
  readonly #budget: Budget;
  readonly #operands: Operands;

  constructor(
    bytes: Bytes,
    start: number,
    private readonly meanings: Meanings,
    file: string,
  ) {
    this.#budget = new Budget(file);
    this.#operands = new Operands(bytes, start, this.#budget, file);
  }

  get position(): number {
    return this.#operands.position;
  }

  refill(signal?: AbortSignal): Promise<void> {
    return this.#operands.refill(signal);
  }

  /** Goes on to the end of the pickle (true) or of the window (false). */
  run(): boolean {
    for (;;) {
      const start = this.position;
      try {
        if (++this.#opcodes > MAX_OPCODES) this.#operands.fail("asks for more work than any checkpoint does");
        if (this.#step(this.#operands.uint(1))) return true;
      } catch (error) {
        if (error !== MORE) throw error;
        // Operands come before effects, so the opcode can be begun again.
        this.#operands.rewind(start);
        this.#opcodes--;
        return false;
      }
    }
  }

  #push(value: unknown): void {
    if (this.#stack.length >= MAX_DEPTH) this.#operands.fail("asks for more objects than any checkpoint has");
    this.#stack.push(value);
  }

  #pop(): unknown {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) this.#operands.fail("is damaged: it takes what was not given");
    return this.#stack.pop();
  }

  #top(): unknown {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) this.#operands.fail("is damaged: it takes what was not given");
    return this.#stack.at(-1);
  }

  /** What lies above the last mark, without the mark. */
  #popMark(): unknown[] {
    const mark = this.#marks.pop();
    if (mark === undefined) this.#operands.fail("is damaged: it ends what was not begun");
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
    if (!Array.isArray(list)) this.#operands.fail("is damaged: it appends to what is no list");
    for (const item of items) list.push(item);
  }

  #set(items: readonly unknown[]): void {
    if (items.length % 2 !== 0) this.#operands.fail("is damaged: a key has no value");
    const dict = this.#top();
    if (dict instanceof Stub) return;
    if (!(dict instanceof Dict)) this.#operands.fail("is damaged: it puts keys into what is no dict");
    for (const item of items) dict.items.push(item);
  }

  #dict(items: readonly unknown[]): void {
    this.#new(new Dict());
    this.#set(items);
  }

  #global(module: unknown, name: unknown): void {
    if (typeof module !== "string" || typeof name !== "string") this.#operands.fail("is damaged: a class has no name");
    this.#new(new Global(`${module}.${name}`));
  }

  #call(callee: unknown, args: unknown): void {
    if (!Array.isArray(args)) this.#operands.fail("is damaged: it calls without arguments");
    if (!(callee instanceof Global || callee instanceof Stub))
      this.#operands.fail("is damaged: it calls what is no function");
    this.#new(callee instanceof Stub ? callee : this.meanings.call(callee, args, this.#budget));
  }

  #get(index: number | bigint | boolean): void {
    const value = this.#memo.get(Number(index));
    if (value === undefined) this.#operands.fail("is damaged: it refers to what it has not named");
    this.#push(value);
  }

  #put(index: number | bigint | boolean): void {
    if (this.#memo.size >= MAX_DEPTH) this.#operands.fail("asks for more objects than any checkpoint has");
    this.#memo.set(Number(index), this.#top());
  }

  /** Runs an opcode. @returns whether it was the last */
  #step(opcode: number): boolean {
    switch (opcode) {
      case 0x80: // PROTO
        if (this.#operands.uint(1) > 5) this.#operands.fail("is a pickle of a protocol above 5, or none");
        break;
      case 0x95: // FRAME
        this.#operands.uint(8);
        break;
      case 0x2e: // STOP
        this.result = this.#pop();
        return true;
      case 0x28: // MARK
        if (this.#marks.length >= MAX_DEPTH) this.#operands.fail("asks for more objects than any checkpoint has");
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
        this.#push(this.#operands.decimal(this.#operands.line()));
        break;
      case 0x4a: // BININT
        this.#push(this.#operands.uint(4) | 0);
        break;
      case 0x4b: // BININT1
        this.#push(this.#operands.uint(1));
        break;
      case 0x4d: // BININT2
        this.#push(this.#operands.uint(2));
        break;
      case 0x8a: // LONG1
        this.#push(this.#operands.integer(this.#operands.uint(1)));
        break;
      case 0x8b: // LONG4
        this.#push(this.#operands.integer(this.#operands.uint(4)));
        break;
      case 0x46: // FLOAT
        this.#push(pythonFloat(this.#operands.line()) ?? this.#operands.fail("is no pickle: a number is none"));
        break;
      case 0x47: // BINFLOAT
        this.#push(this.#operands.float());
        break;
      case 0x8c: // SHORT_BINUNICODE
        this.#push(this.#operands.text(this.#operands.uint(1)));
        break;
      case 0x58: // BINUNICODE
        this.#push(this.#operands.text(this.#operands.uint(4)));
        break;
      case 0x8d: // BINUNICODE8
        this.#push(this.#operands.text(this.#operands.uint(8)));
        break;
      case 0x56: // UNICODE
        this.#push(unescaped(this.#operands.line()));
        break;
      case 0x53: // STRING
        this.#push(unquoted(this.#operands.line()) ?? this.#operands.fail("is no pickle: a text has no quotes"));
        break;
      case 0x55: // SHORT_BINSTRING
        this.#push(this.#operands.string(this.#operands.uint(1)));
        break;
      case 0x54: // BINSTRING
        this.#push(this.#operands.string(this.#operands.uint(4)));
        break;
      case 0x43: // SHORT_BINBYTES
        this.#push(this.#operands.take(this.#operands.uint(1)));
        break;
      case 0x42: // BINBYTES
        this.#push(this.#operands.take(this.#operands.uint(4)));
        break;
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        this.#push(this.#operands.take(this.#operands.uint(8)));
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
        this.#new(this.meanings.persistent(this.#operands.line()));
        break;
      case 0x51: // BINPERSID
        this.#new(this.meanings.persistent(this.#pop()));
        break;
      case 0x67: // GET
        this.#get(this.#operands.decimal(this.#operands.line()));
        break;
      case 0x68: // BINGET
        this.#get(this.#operands.uint(1));
        break;
      case 0x6a: // LONG_BINGET
        this.#get(this.#operands.uint(4));
        break;
      case 0x70: // PUT
        this.#put(this.#operands.decimal(this.#operands.line()));
        break;
      case 0x71: // BINPUT
        this.#put(this.#operands.uint(1));
        break;
      case 0x72: // LONG_BINPUT
        this.#put(this.#operands.uint(4));
        break;
      case 0x94: // MEMOIZE
        this.#put(this.#memo.size);
        break;
      default:
        this.#operands.fail(
          `is no pickle that can be read here: 0x${opcode.toString(16).padStart(2, "0")} is no opcode of one`,
        );
    }
    return false;
  }

  #twoLines(): [string, string] {
    return [this.#operands.line(), this.#operands.line()];
  }
}
