/** Values that JSON has, and those of option objects that it has not, written as JSON: `{"$": "NaN"}`. */
import fc from "fast-check";

const deep = (levels: number): unknown => Array.from({ length: levels }).reduce((inner) => [inner], 0);

const PLAIN: readonly unknown[] = [
  ...[null, true, false, "", "7", "null", "__proto__", "constructor", "toString", "../x", "\x1b[2J\u202e", "a,b"],
  ...[0, -0, 1, 2, 3, 7, -1, 0.5, 1.5, 16, 17, 255, 1000, 1001, 65536, 1e5, 100_001, 2 ** 31, 2 ** 32, 2 ** 53, 1e21],
  ...[1e308, 5e-324, -1e308, [], {}, [0], [null], [[]], [1, 2], [-1, 0.5], { length: 1e9 }, { length: -1 }, deep(150)],
  ...["x".repeat(5000), Array.from({ length: 2000 }, (_, i) => i), { a: { b: { c: [] } } }, { toString: 1 }],
];

/** What only a program can pass. */
const TAGGED = [
  ...["NaN", "Infinity", "-Infinity", "undefined", "function", "symbol", "date", "bytes", "floats", "empty floats"],
  ...["bigint 0", "bigint -1", "bigint 18446744073709551616", "null object", "throwing", "circle"],
].map((name) => ({ $: name }));

const numbers = fc.oneof(fc.integer(), fc.double(), fc.integer({ min: -3, max: 40 }));

export const jsonValue: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...PLAIN) },
  { weight: 2, arbitrary: numbers },
  { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 2 }) },
);

export const optionValue: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 3, arbitrary: jsonValue },
  { weight: 2, arbitrary: fc.constantFrom(...TAGGED) },
  { weight: 1, arbitrary: tensors() },
);

/** Shapes that fit, or nearly do, with as many values or others. */
function tensors() {
  const side = fc.constantFrom<unknown>(0, 1, 2, 3, 4, 8, 16, 17, -1, 0.5, 2 ** 32, null, "3");
  return fc
    .record({ shape: fc.array(side, { maxLength: 5 }), length: fc.constantFrom(0, 1, 768, 1536) })
    .map(({ shape, length }) => ({ shape, data: { $: `floats ${length}` } }));
}

function special(name: string): unknown {
  const [kind, number = ""] = name.split(" ");
  if (kind === "bigint" && /^-?\d+$/.test(number)) return BigInt(number);
  if (kind === "floats" && /^\d{1,5}$/.test(number)) return new Float32Array(Number(number));
  const circle: unknown[] = [];
  circle.push(circle);
  const all: Record<string, unknown> = {
    ...{ NaN: Number.NaN, Infinity: Number.POSITIVE_INFINITY, "-Infinity": Number.NEGATIVE_INFINITY },
    ...{ undefined: undefined, function: () => 1, symbol: Symbol("s"), date: new Date(0), bytes: new Uint8Array(4) },
    ...{
      floats: Float32Array.of(1, Number.NaN),
      "empty floats": new Float32Array(0),
      "null object": Object.create(null),
    },
    ...{ circle, throwing: { [Symbol.toPrimitive]: () => Object.create(null) } },
  };
  return all[name];
}

/** The values that such JSON stands for. */
export function revive(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(revive);
  if ("$" in value && typeof value.$ === "string") return special(value.$);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, revive(inner)]));
}
