import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseJson, readJson } from "../../src/weights/json.ts";
import { failure, memorySource } from "./memory-source.ts";

const parse = (text: string, integers = false) => parseJson("f.json", text, { integers });

describe("parseJson", () => {
  test("agrees with JSON.parse on JSON text", () => {
    fc.assert(
      fc.property(fc.json(), fc.constantFrom(undefined, 1, "\t"), (text, space) => {
        const value = JSON.parse(text);
        // JSON.parse takes lone surrogates, which no UTF-8 file can hold.
        fc.pre(!/\p{Surrogate}/u.test(JSON.stringify(value, null, space)) && !/\\ud[89a-f]/i.test(text));
        expect(parse(JSON.stringify(value, null, space))).toEqual(value);
      }),
    );
  });

  test("accepts and refuses what JSON.parse does after a character is changed", () => {
    // Keys of very different lengths, so that no change makes two of them equal.
    const text = '{"a": [1, -2.5e3, true, null], "bcd\\n": {"c\\u00e9": "", "defghi": [[], {}]}, "efghijk": 0}';
    const characters = [...' \n{}[]:,"\\utrfn0123456789.eE+-x\u0001'];
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.constantFrom("", ...characters), fc.boolean(), (at, char, insert) => {
        const changed = text.slice(0, at) + char + text.slice(insert ? at : at + 1);
        let expected: unknown;
        try {
          expected = JSON.parse(changed);
        } catch {
          expect(() => parse(changed)).toThrow(/f\.json: is not valid JSON \(line \d+, column \d+: /);
          return;
        }
        expect(parse(changed)).toEqual(expected);
      }),
      { numRuns: 3000 },
    );
  });

  test.each([
    ["", "line 1, column 1: the text ends too early"],
    ['{"a": 1,\n  "b" 2}', "line 2, column 7: expected :"],
    ['{"a": 1,\n "a": 2}', 'line 2, column 2: the key "a" appears twice'],
    ['[{"x": 1, "y": {"z": 0, "z": 0}}]', 'line 1, column 25: the key "z" appears twice'],
    ["[1, 2", "line 1, column 6: the text ends too early"],
    ["[1, 2}", "line 1, column 6: expected , or ]"],
    ["{} {}", "line 1, column 4: expected nothing more"],
    ["[01]", "line 1, column 3: expected , or ]"],
    ["[NaN]", "line 1, column 2: expected a value"],
    ["{a: 1}", "line 1, column 2: expected a key in quotes"],
    ['"abc', "line 1, column 1: a string has no closing quote"],
    ['"\\x"', "line 1, column 3: an unknown escape in a string"],
    ['"\\u12"', "line 1, column 3: expected four hexadecimal digits after \\u"],
    ['"\\ud800"', "line 1, column 1: half of a surrogate pair in a string"],
  ])("says where %j goes wrong", (text, problem) => {
    expect(() => parse(text)).toThrow(`f.json: is not valid JSON (${problem})`);
  });

  test("Python's numbers are numbers where they may be, and nowhere else", () => {
    const python = (text: string) => parseJson("f.json", text, { nonFinite: true });
    expect(python('{"a": [NaN, Infinity, -Infinity , -1]}')).toEqual({ a: [Number.NaN, Infinity, -Infinity, -1] });
    for (const text of ["NaN", "Infinity", "-Infinity"]) {
      expect(python(text)).toBe(Number(text));
      expect(() => parse(text)).toThrow("line 1, column 1: expected a value");
      expect(() => parse(text, true)).toThrow("expected a value");
    }
    for (const text of ["nan", "inf", "-NaN", "+Infinity", "- Infinity", "Infinit", "INFINITY", "Infinity1", "NaN.0"])
      expect(() => python(text), text).toThrow("is not valid JSON");
  });

  test("reads what Python writes: JSON with numbers that are not finite anywhere", () => {
    const number = fc.oneof(fc.double(), fc.constantFrom(Number.NaN, Infinity, -Infinity));
    const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
      tree: fc.oneof(
        { depthSize: "small" },
        number,
        fc.constantFrom("NaN", "-Infinity", true, null),
        fc.array(tie("tree")),
        fc.dictionary(fc.constantFrom("a", "b", "Infinity"), tie("tree")),
      ),
    }));
    const write = (value: unknown): string =>
      typeof value === "number"
        ? String(value)
        : Array.isArray(value)
          ? `[${value.map(write).join(", ")}]`
          : typeof value === "object" && value !== null
            ? `{${Object.entries(value).map(([key, v]) => `${JSON.stringify(key)}: ${write(v)}`)}}`
            : JSON.stringify(value);
    fc.assert(
      fc.property(tree, (value) => {
        const read = parseJson("f.json", write(value), { nonFinite: true });
        expect(write(read)).toBe(write(value));
      }),
    );
  });

  test("says the line and column of a mistake far into a long text", () => {
    expect(() => parse(`[${"1,\n".repeat(100_000)}x]`)).toThrow("line 100001, column 1: expected a value");
  });

  test("keeps __proto__ a key like any other", () => {
    const value = parse('{"__proto__": {"polluted": 1}}') as Record<string, unknown>;
    expect(Object.keys(value)).toEqual(["__proto__"]);
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
  });

  test("refuses nesting that would exhaust the stack", () => {
    expect(parse("[".repeat(127) + "]".repeat(127))).toBeInstanceOf(Array);
    expect(() => parse("[".repeat(100_000))).toThrow("nested deeper than 127 levels");
  });

  test("integers: numbers written otherwise stay text", () => {
    expect(parse("[0, 12, 1.0, 1e2, -1, -0, 3]", true)).toEqual([0, 12, "1.0", "1e2", "-1", "-0", 3]);
    expect(parse("[1.0, 1e2, -1]")).toEqual([1, 100, -1]);
  });
});

describe("readJson", () => {
  test("refuses a file of more than 4 MiB", async () => {
    const source = memorySource({ "a.json": `{"a": 1${" ".repeat(4 * 2 ** 20)}}` });
    expect(await failure(readJson(source, "a.json"))).toBe(
      "model/a.json: is over 4 MiB, which no such file of a model is",
    );
  });

  test("reads an object, and names the file when there is none", async () => {
    const bad = Uint8Array.from([0x7b, 0xff, 0x7d]);
    const source = memorySource({ "unet/config.json": '\ufeff{"a": [1.5]}', "list.json": "[]", "bad.json": bad });
    expect(await readJson(source, "unet/config.json")).toEqual({ a: [1.5] });
    expect(await failure(readJson(source, "list.json"))).toBe("model/list.json: must hold a JSON object");
    expect(await failure(readJson(source, "bad.json"))).toBe("model/bad.json: is not UTF-8 text");
    expect(await failure(readJson(source, "../config.json"))).toContain("does not stay inside the model's folder");
  });
});
