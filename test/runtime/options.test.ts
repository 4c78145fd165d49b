/** How an unknown option is refused: by name, with what it may have been meant for. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { UsageError } from "../../src/runtime/errors.ts";
import { checkOptions, type OptionNames, suggestions, without } from "../../src/runtime/options.ts";
import { hostileText, INVISIBLE } from "../support/hostile.ts";

const names: OptionNames<Record<string, unknown>> = {
  steps: true,
  guidance: true,
  size: true,
  count: true,
  batch: true,
  timestepBase: true,
} as const;

test.each([
  ["numInferenceSteps", ["steps"]],
  ["num_inference_steps", ["steps"]],
  ["guidanceScale", ["guidance"]],
  ["width", ["size"]],
  ["batchSize", ["count", "batch"]],
  ["step", ["steps"]],
  ["guidence", ["guidance"]],
  ["timestep_base", ["timestepBase"]],
  ["prompt", []],
  ["constructor", []],
])("%s may mean %j", (name, meant) => {
  expect(suggestions(name, Object.keys(names))).toEqual(meant);
});

test("known options pass, undefined ones are not given, others are refused with a hint or the list", () => {
  expect(() => checkOptions("f", { steps: 1, other: undefined }, names)).not.toThrow();
  expect(() => checkOptions("f", { widht: 1 }, names)).toThrow(
    'f: there is no option "widht"; it takes steps, guidance',
  );
  expect(() => checkOptions("f", { height: 1 }, names)).toThrow('f: there is no option "height"; did you mean size?');
  expect(() => checkOptions("f", JSON.parse('{"__proto__": 1}'), names)).toThrow(UsageError);
  for (const wrong of [null, 5, "steps", [1]])
    expect(() => checkOptions("f", wrong as object, names)).toThrow("f: options must be an object");
  expect(Object.keys(without(names, "size", "count"))).toEqual(["steps", "guidance", "batch", "timestepBase"]);
});

test("whatever a name holds, the refusal is one printable sentence that says it", () => {
  fc.assert(
    fc.property(fc.oneof(hostileText, fc.string({ maxLength: 3000 })), (name) => {
      fc.pre(!Object.hasOwn(names, name));
      try {
        checkOptions("f", Object.fromEntries([[name, 1]]), names);
        expect.unreachable();
      } catch (error) {
        expect(error).toBeInstanceOf(UsageError);
        expect((error as UsageError).option).toBe(name);
        expect((error as UsageError).message).not.toMatch(INVISIBLE);
        expect((error as UsageError).message.length).toBeLessThan(2100);
      }
    }),
  );
});
