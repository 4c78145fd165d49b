/** A little of `npm run fuzz`, the same each time, and all inputs that were once wrong. No times: machines are busy. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { corpusOf, expected } from "./corpus.ts";
import { outcomeOf } from "./harness.ts";
import { targets } from "./targets/index.ts";

const RUNS = 30;

it("names each reader once, and each input of the corpus", () => {
  const names = targets.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  expect(names.flatMap(corpusOf).map(([name]) => name)).toEqual(expect.arrayContaining(Object.keys(expected)));
});

describe.each(targets)("$name", (target) => {
  it("reads what is right", async () => {
    for (const seed of target.seeds) {
      const { refused } = await outcomeOf(target, seed);
      if (refused !== undefined) expect(refused).toMatch(/^DeviceError/);
    }
  });

  it.each(corpusOf(target.name))("%s", async (name, bytes) => {
    const { refused = "" } = await outcomeOf(target, bytes);
    expect(expected).toHaveProperty([name]);
    if (expected[name] === "") expect(refused).toBe("");
    else expect(refused).toContain(expected[name]);
  });

  it("refuses what is wrong with a typed error, twice the same", async () => {
    const property = fc.asyncProperty(target.input, async (bytes) => void (await outcomeOf(target, bytes)));
    await fc.assert(property, { numRuns: RUNS, seed: 1 });
  });
});
