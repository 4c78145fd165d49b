/** docs/performance.md is what its results file generates, and its picture is there. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { markdownSource } from "../../bench/report/command.ts";
import { resultsAsMarkdown } from "../../bench/report/index.ts";
import { readResults } from "../../bench/results.ts";

const PAGE = "docs/performance.md";
const page = readFileSync(PAGE, "utf8");

test("the committed page equals what the committed results file generates", () => {
  const file = /^<!-- Generated from (\S+) by/.exec(page)?.[1] ?? "";
  expect(file).toMatch(/^bench\/results\/[\w.-]+\.json$/);
  expect(page).toBe(resultsAsMarkdown(readResults(file), markdownSource(file, PAGE)));
});

test("it names no folder of the machine that made it", () => {
  expect(page).not.toMatch(/(^|[\s`"(])(\/(home|root|work|tmp|Users|var)\/|[A-Z]:\\)/m);
});

test("its picture is small", () => {
  const [, picture = ""] = /!\[[^\]]+\]\((\S+\.png)\)/.exec(page) ?? [];
  expect(readFileSync(`docs/${picture}`).length).toBeLessThan(200_000);
});
