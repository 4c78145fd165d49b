/** The machine that a pickle is a program for: a stack with marks in it, and what was named for later. It does not recurse. */
import { Budget } from "./budget.ts";
import type { Bytes } from "./bytes.ts";
import { Operands } from "./operands.ts";
import { Dict, Global, Stub } from "./values.ts";

/** What names mean. All are called in the order of the pickle. */
export interface Meanings {
  call(callee: unknown, args: readonly unknown[], budget: Budget): unknown;
  /** What `__setstate__` would do. */
  build(object: unknown, state: unknown): void;
  persistent(id: unknown): unknown;
}

/** Of the stack, of its marks, and of what is named for later. */
const MAX_DEPTH = 500_000;

export class Machine {
  readonly #stack: unknown[] = [];
  /** Where in the stack the marks are. */
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, unknown>();
  readonly #budget: Budget;
  readonly operands: Operands;

  constructor(
    bytes: Bytes,
    start: number,
    readonly meanings: Meanings,
    file: string,
  ) {
    this.#budget = new Budget(file);
    this.operands = new Operands(bytes, start, this.#budget, file);
  }

  /** @param held how many are there already */
  #room(held: number): void {
    if (held >= MAX_DEPTH) this.operands.fail("asks for more objects than any checkpoint has");
  }

  push(value: unknown): void {
    this.#room(this.#stack.length);
    this.#stack.push(value);
  }

  top(): unknown {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) this.operands.fail("is damaged: it takes what was not given");
    return this.#stack.at(-1);
  }

  pop(): unknown {
    const value = this.top();
    this.#stack.pop();
    return value;
  }

  mark(): void {
    this.#room(this.#marks.length);
    this.#marks.push(this.#stack.length);
  }

  /** Takes what is on top, which may be a mark. */
  discard(): void {
    if (this.#stack.length === this.#marks.at(-1)) this.#marks.pop();
    else this.pop();
  }

  /** What lies above the last mark, without the mark. */
  popMark(): unknown[] {
    const mark = this.#marks.pop();
    if (mark === undefined) this.operands.fail("is damaged: it ends what was not begun");
    const items = this.#stack.splice(mark);
    this.#budget.spend({ items: items.length });
    return items;
  }

  /** What is popped one by one counts as what {@link popMark} takes. */
  popItems(count: number): unknown[] {
    const items = Array.from({ length: count }, () => this.pop()).reverse();
    this.#budget.spend({ items: count });
    return items;
  }

  new<T>(object: T): void {
    this.#budget.spend({ objects: 1 });
    this.push(object);
  }

  append(items: readonly unknown[]): void {
    const list = this.top();
    if (list instanceof Stub) return;
    if (!Array.isArray(list)) this.operands.fail("is damaged: it appends to what is no list");
    for (const item of items) list.push(item);
  }

  set(items: readonly unknown[]): void {
    if (items.length % 2 !== 0) this.operands.fail("is damaged: a key has no value");
    const dict = this.top();
    if (dict instanceof Stub) return;
    if (!(dict instanceof Dict)) this.operands.fail("is damaged: it puts keys into what is no dict");
    for (const item of items) dict.items.push(item);
  }

  dict(items: readonly unknown[]): void {
    this.new(new Dict());
    this.set(items);
  }

  global(module: unknown, name: unknown): void {
    if (typeof module !== "string" || typeof name !== "string") this.operands.fail("is damaged: a class has no name");
    this.new(new Global(`${module}.${name}`));
  }

  call(callee: unknown, args: unknown): void {
    if (!Array.isArray(args)) this.operands.fail("is damaged: it calls without arguments");
    if (!(callee instanceof Global || callee instanceof Stub))
      this.operands.fail("is damaged: it calls what is no function");
    this.new(callee instanceof Stub ? callee : this.meanings.call(callee, args, this.#budget));
  }

  get(index: number | bigint | boolean): void {
    const value = this.#memo.get(Number(index));
    if (value === undefined) this.operands.fail("is damaged: it refers to what it has not named");
    this.push(value);
  }

  put(index: number | bigint | boolean): void {
    this.#room(this.#memo.size);
    this.#memo.set(Number(index), this.top());
  }

  memoize(): void {
    this.put(this.#memo.size);
  }
}
