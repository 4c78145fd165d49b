/** What a reader keeps to, whatever it is fed: a typed error or a valid result, and twice the same. */
import type fc from "fast-check";
import { DdimError } from "../../src/runtime/errors.ts";
import { INVISIBLE } from "../support/hostile.ts";

export interface Target {
  readonly name: string;
  /** Inputs that are read. */
  readonly seeds: readonly Uint8Array[];
  /** Inputs that may be anything, mostly close to a seed. */
  readonly input: fc.Arbitrary<Uint8Array>;
  /** Reads an input; what it returns is plain data. */
  read(bytes: Uint8Array): Promise<unknown>;
}

export interface Outcome {
  /** The refusal, in words; undefined where the input was read. */
  readonly refused: string | undefined;
  /** What was read, as text to compare. */
  readonly result: string | undefined;
  readonly ms: number;
}

/** Longer messages than this are no sentence to read; `DdimError` promises some 2 000. */
const LONGEST_MESSAGE = 2100;

/** Something else than what is promised. */
export class Finding extends Error {
  constructor(
    readonly kind: string,
    problem: string,
    options?: ErrorOptions,
  ) {
    super(problem, options);
  }
}

/** Where an error was thrown, to tell findings apart. */
const frame = (error: unknown) => /\n\s+at (?:async )?([^\s(]+)/.exec((error as Error)?.stack ?? "")?.[1] ?? "nowhere";

/** The message of a refusal. @throws Finding where it is none */
export function refusal(error: unknown): string {
  if (!(error instanceof DdimError))
    throw new Finding(`untyped ${(error as Error)?.name} ${frame(error)}`, `not a DdimError: ${String(error)}`, {
      cause: error,
    });
  const { name, message } = error;
  if (INVISIBLE.test(message)) throw new Finding(`unprintable ${name}`, `unprintable: ${JSON.stringify(message)}`);
  if (message.length > LONGEST_MESSAGE || message.startsWith("internal"))
    throw new Finding(`message ${frame(error)}`, `no message for a person: ${message.slice(0, 300)}`);
  return `${name}: ${message}`;
}

/** JSON of whatever readers return: with typed arrays, maps, big integers and numbers that are not finite. */
const text = (value: unknown) =>
  JSON.stringify(value, (_, v) => {
    if (ArrayBuffer.isView(v)) return Buffer.from(v.buffer, v.byteOffset, v.byteLength).toString("latin1");
    if (v instanceof Map) return [...v];
    if (typeof v === "bigint" || (typeof v === "number" && !Number.isFinite(v))) return `${typeof v} ${v}`;
    return v;
  }) ?? "undefined";

async function once({ read }: Target, bytes: Uint8Array): Promise<Outcome> {
  const start = performance.now();
  const done = () => performance.now() - start;
  try {
    const result = await read(bytes.slice());
    const ms = done();
    return { refused: undefined, result: text(result), ms };
  } catch (error) {
    if (error instanceof Finding) throw error;
    const ms = done();
    return { refused: refusal(error), result: undefined, ms };
  }
}

/** Reads an input twice. @throws Finding */
export async function outcomeOf(target: Target, bytes: Uint8Array): Promise<Outcome> {
  const [first, second] = [await once(target, bytes), await once(target, bytes)];
  for (const key of ["refused", "result"] as const)
    if (first[key] !== second[key])
      throw new Finding(
        "differs",
        `not the same twice: ${String(first[key]).slice(0, 300)} and ${String(second[key]).slice(0, 300)}`,
      );
  return { ...first, ms: Math.min(first.ms, second.ms) };
}

/** Runs that may each be refused, as one: refused where all of them are. */
export async function every(runs: readonly (() => unknown)[]): Promise<unknown[]> {
  const results: unknown[] = [];
  const refusals: unknown[] = [];
  for (const run of runs) {
    try {
      results.push(await run());
    } catch (error) {
      results.push(refusal(error));
      refusals.push(error);
    }
  }
  if (refusals.length === runs.length) throw refusals[0];
  return results;
}
