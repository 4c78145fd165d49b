import { expect, test } from "vitest";
import { parseClasses } from "../../src/cli/classFlag.ts";

const FACES = ["plain", "glasses", "hat", "hat and glasses"];
const IMAGENET = ["tench, Tinca tinca", "goldfish, Carassius auratus", "crane", "crane, hoist"];

test.each([
  ["2", FACES, [2]],
  ["2,0,0", FACES, [2, 0, 0]],
  ["hat and glasses", FACES, [3]],
  ["Hat, 1 ,plain", FACES, [2, 1, 0]],
  ["tench, Tinca tinca", IMAGENET, [0]],
  ["goldfish,tench", IMAGENET, [1, 0]],
  ["crane", IMAGENET, [2]],
  ["hoist", IMAGENET, [3]],
  ["17", null, [17]],
])("%j of %j is %j", (text, labels, ids) => {
  expect(parseClasses(text, labels)).toEqual(ids);
});

test("a name that no class has is refused, with those that there are", () => {
  expect(() => parseClasses("hat,cap", FACES)).toThrow('no class "cap"; there is 0 plain, 1 glasses, 2 hat, 3 hat and');
  expect(() => parseClasses("0,", FACES)).toThrow('no class ""');
  expect(() => parseClasses("cat", null)).toThrow("the model's classes have no names, give their numbers");
  const many = Array.from({ length: 1000 }, (_, i) => `c${i}`);
  expect(() => parseClasses("x", many)).toThrow(/ 0 c0, .* 11 c11, … 999$/);
});
