/** Flags with values that no run can have: one sentence and exit code 2, before a device is opened or a file written. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { ddim, scratchFolder } from "../support/cli.ts";

const folder = scratchFolder();
const at = (name: string) => join(folder, name);

const NUMBERS = ["-n", "--steps", "--batch", "--eta", "--guidance", "--columns", "--scale", "--first-image"];
const VALUES = ["-1", "1e10", "9007199254740991", "NaN", "Infinity", ""];
/** Whole numbers up to a bound of the run's own: these are allowed, or stopped by what comes first. */
const ALLOWED = new Set([
  "--batch 9007199254740991",
  "--guidance 9007199254740991",
  "--guidance 1e10",
  "--guidance -1",
]);

it.each([
  ["--spacing", "0,0", "--compat", "openai", "-o", at("a.png")],
  ["-n", "9007199254740991", "-o", at("b/")],
  ["-n", "2", "-o", at("%0999999999d.png")],
  ["-n", "1048576", "-o", at(`${"x".repeat(10)}%0201d.png`)],
  ["--scale", "100000", "-o", at("a.png")],
  ...NUMBERS.flatMap((flag) =>
    VALUES.filter((value) => !ALLOWED.has(`${flag} ${value}`)).map((value) => [`${flag}=${value}`, "-o", at("a.png")]),
  ),
])("sample %s %s", async (...flags) => {
  const { code, stdout, stderr } = await ddim(["sample", "-m", "weights/pixel-avatars-16", ...flags]);
  expect([code, stdout]).toEqual([2, ""]);
  expect(stderr).toMatch(/^ddim: [^\n]+\n$/);
  expect(stderr).not.toContain("internal");
  expect(readdirSync(folder)).toEqual([]);
});
