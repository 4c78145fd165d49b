/** What foreign text may do to a line: nothing. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { DdimError, FileError, WeightError } from "../../src/runtime/errors.ts";
import { listed, printable, printableJson, shown } from "../../src/runtime/printable.ts";
import { hostileText, INVISIBLE } from "../support/hostile.ts";

test("control, bidirectional and invisible characters become escapes", () => {
  const cases: [string, string][] = [
    ["plain, Grüße, 日本 🙂", "plain, Grüße, 日本 🙂"],
    ["a\x1b[31mb\x07", "a\\u001b[31mb\\u0007"],
    ["two\nlines\r\n\tand a tab", "two\\nlines\\r\\n\\tand a tab"],
    ["\x7f\x85\x9b", "\\u007f\\u0085\\u009b"],
    ["\u200e\u202etxt.exe\u2066\u2069\u061c", "\\u200e\\u202etxt.exe\\u2066\\u2069\\u061c"],
    ["\u2028\u2029\ufeff\u200b", "\\u2028\\u2029\\ufeff\\u200b"],
    ["\ud800x\udc00", "\\ud800x\\udc00"],
    ["\u{e0041}", "\\udb40\\udc41"],
  ];
  for (const [text, line] of cases) expect(printable(text)).toBe(line);
});

test("every text is printable, twice as once, and in JSON also the same value", () => {
  fc.assert(
    fc.property(hostileText, (text) => {
      const line = printable(text);
      expect(line).not.toMatch(INVISIBLE);
      expect(printable(line)).toBe(line);
      const json = printableJson({ [text]: [text] });
      expect(json).not.toMatch(INVISIBLE);
      expect(JSON.parse(json)).toEqual({ [text]: [text] });
    }),
  );
});

test("an error's message is one printable line of bounded length; its fields are what they were", () => {
  const file = "a\x1b]0;b\x07\n.png";
  const error = new FileError(file, "is\u202e bad");
  expect(error.message).toBe("a\\u001b]0;b\\u0007\\n.png: is\\u202e bad");
  expect(error.file).toBe(file);
  fc.assert(
    fc.property(hostileText, fc.nat(20_000), (text, length) => {
      const { message } = new DdimError(`${"🙂".repeat(length)}${text}; the way out`);
      expect(message).not.toMatch(INVISIBLE);
      expect(message.length).toBeLessThanOrEqual(2048);
      expect(message).toMatch(/; the way out$/);
    }),
    { numRuns: 50 },
  );
});

test("lists of names are cut after a dozen", () => {
  const names = Array.from({ length: 824 }, (_, i) => `conv${i}.weight`);
  expect(listed(names.slice(0, 12))).toBe(names.slice(0, 12).join(", "));
  expect(listed(names)).toBe(`${names.slice(0, 12).join(", ")}, … and 812 more`);
  const mismatched = names.map((name) => ({ name, expected: [1], actual: [2] }));
  const { message, missing } = new WeightError("model.safetensors", names, names, mismatched);
  // Missing ones and wrong shapes by the dozen; of those that nothing needs, three.
  expect(message.match(/… and 812 more/g)).toHaveLength(2);
  expect(message).toContain("unexpected conv0.weight, conv1.weight, conv2.weight, … and 821 more");
  expect(message).not.toContain("conv12.");
  expect(missing).toHaveLength(824);
});

test("values of configurations are shown as Python writes them", () => {
  const cases: [unknown, string][] = [
    [Number.NaN, "NaN"],
    [[1, -Infinity, "NaN"], '[1,-Infinity,"NaN"]'],
    [{ a: Infinity, b: null }, '{"a":Infinity,"b":null}'],
    [undefined, "undefined"],
    ["x".repeat(100), `"${"x".repeat(56)}...`],
  ];
  for (const [value, text] of cases) expect(shown(value)).toBe(text);
});
