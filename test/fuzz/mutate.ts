/** Inputs close to valid ones. Files are changed by byte, JSON by value, so that what lies behind the parser is reached too. */
import fc from "fast-check";
import { jsonValue } from "./values.ts";

/** Numbers that lengths, counts and offsets are replaced with. */
const SIZES = [0, 1, 2, 7, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff];

const byteChange = fc.record({
  how: fc.constantFrom("bit", "byte", "16", "32", "32le", "64le", "cut", "drop", "repeat", "zeros", "splice", "insert"),
  /** Where, as a fraction: most of what decides lies at the beginning or at the end. */
  at: fc.oneof(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(0, 0.01, 0.05, 0.95, 0.99)),
  offset: fc.nat(64),
  length: fc.oneof(fc.nat(16), fc.nat(1000)),
  value: fc.oneof(fc.constantFrom(...SIZES), fc.nat(255)),
  other: fc.nat(),
});
type ByteChange = typeof byteChange extends fc.Arbitrary<infer T> ? T : never;

function changed(bytes: Uint8Array, change: ByteChange, others: readonly Uint8Array[]): Uint8Array {
  const { how, length, value } = change;
  const at = Math.min(Math.floor(change.at * bytes.length) + change.offset, Math.max(0, bytes.length - 1));
  const join = (...parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts));
  const [before, after, rest] = [bytes.subarray(0, at), bytes.subarray(at), bytes.subarray(at + length)];
  if (how === "cut") return before.slice();
  if (how === "drop") return join(before, rest);
  if (how === "repeat") return join(before, bytes.subarray(at, at + length), after);
  if (how === "insert") return join(before, new Uint8Array(Math.min(length, 40)).fill(value), after);
  const other = others[change.other % others.length] ?? bytes;
  if (how === "splice") return join(before, other.subarray(Math.floor(change.at * other.length)));
  const copy = bytes.slice();
  if (copy.length === 0) return copy;
  const view = new DataView(copy.buffer);
  if (how === "zeros") copy.fill(0, at, at + length);
  else if (how === "bit") copy[at]! ^= 1 << (value & 7);
  else if (how === "byte") copy[at] = value;
  else if (at + 8 <= copy.length) {
    if (how === "16") view.setUint16(at, value);
    else view.setUint32(at, value, how !== "32");
    if (how === "64le") view.setUint32(at + 4, value < 0x80000000 ? 0 : value, true);
  }
  return copy;
}

/** Seeds with up to some changes of bytes. */
export const mutatedBytes = (seeds: readonly Uint8Array[], most = 4): fc.Arbitrary<Uint8Array> =>
  fc
    .record({ seed: fc.nat(seeds.length - 1), changes: fc.array(byteChange, { maxLength: most }) })
    .map(({ seed, changes }) => changes.reduce((bytes, change) => changed(bytes, change, seeds), seeds[seed]!));

interface Place {
  readonly parent: Record<string, unknown>;
  readonly key: string;
}

/** Every value inside of another. */
function places(value: unknown, found: Place[] = []): Place[] {
  if (typeof value !== "object" || value === null) return found;
  for (const key of Object.keys(value)) {
    found.push({ parent: value as Record<string, unknown>, key });
    places((value as Record<string, unknown>)[key], found);
  }
  return found;
}

/** All names and texts of some values: what means something there. */
function wordsOf(values: readonly unknown[]): string[] {
  const found = values.flatMap((value) => places(value));
  const texts = found.map(({ parent, key }) => parent[key]).filter((v) => typeof v === "string");
  return [...new Set([...found.map(({ key }) => key), ...texts, "extra"])];
}

const valueChange = (words: readonly string[], values: fc.Arbitrary<unknown>) =>
  fc.record({
    how: fc.constantFrom("replace", "replace", "replace", "word", "drop", "add", "rename", "copy", "wrap", "repeat"),
    at: fc.nat(),
    other: fc.nat(),
    word: fc.constantFrom(...words),
    value: values,
  });
type ValueChange = ReturnType<typeof valueChange> extends fc.Arbitrary<infer T> ? T : never;

const MOST_PLACES = 5000;

function applyTo(root: { value: unknown }, { how, at, other, word, value }: ValueChange): void {
  const all = places(root);
  if (all.length > MOST_PLACES) return;
  const { parent, key } = all[at % all.length]!;
  const own = parent[key];
  const isList = Array.isArray(parent);
  const set = (name: string, v: unknown) =>
    Object.defineProperty(parent, name, { value: v, enumerable: true, configurable: true, writable: true });
  if (how === "replace") set(key, structuredClone(value));
  else if (how === "word") set(key, word);
  else if (how === "wrap") set(key, [own]);
  else if (how === "copy") {
    const from = all[other % all.length]!;
    set(key, structuredClone(from.parent[from.key]));
  } else if (how === "repeat") set(key, Array.isArray(own) ? [...own, ...structuredClone(own)] : [own, own]);
  else if (how === "add") {
    if (isList) parent.push(structuredClone(value));
    else if (parent !== (root as unknown)) set(word, structuredClone(value));
  } else if (parent !== (root as unknown)) {
    if (isList) parent.splice(Number(key), 1);
    else delete parent[key];
    if (how === "rename" && !isList) set(word, own);
  }
}

/** Values close to some of JSON. */
export function mutatedValues(
  seeds: readonly unknown[],
  values: fc.Arbitrary<unknown> = jsonValue,
): fc.Arbitrary<unknown> {
  return fc
    .record({
      seed: fc.nat(seeds.length - 1),
      changes: fc.array(valueChange(wordsOf(seeds), values), { maxLength: 4 }),
    })
    .map(({ seed, changes }) => {
      const root = { value: structuredClone(seeds[seed]) };
      for (const change of changes) applyTo(root, change);
      return root.value;
    });
}

export const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
export const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** Mostly JSON of mutated values, else mutated text. */
export function mutatedJson(seeds: readonly unknown[], values?: fc.Arbitrary<unknown>): fc.Arbitrary<Uint8Array> {
  const texts = seeds.map((seed) => encode(JSON.stringify(seed)));
  const written = mutatedValues(seeds, values).map((value) => encode(JSON.stringify(value)));
  return fc.oneof({ weight: 6, arbitrary: written }, { weight: 1, arbitrary: mutatedBytes(texts, 2) });
}
