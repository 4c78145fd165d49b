/** A little of `npm run torture`, which runs this file for each section with `DDIM_TORTURE` (scripts/torture.mjs). */
import { writeFileSync } from "node:fs";
import process from "node:process";
import { expect, test } from "vitest";
import { torture } from "./harness.ts";
import { sections } from "./sections.ts";

interface Asked {
  readonly seed: number;
  readonly tries?: number;
  readonly from?: number;
  /** Where the report goes. */
  readonly report?: string;
}

const asked: Asked | undefined = process.env.DDIM_TORTURE ? JSON.parse(process.env.DDIM_TORTURE) : undefined;

for (const section of sections) {
  const { name, what, few, tries, skipped } = section;
  if (skipped !== undefined) process.stderr.write(`skipped: ${name}, as ${skipped}\n`);
  test.skipIf(skipped !== undefined)(`${name}: ${what}`, { timeout: asked ? 3_600_000 : 120_000 }, async () => {
    const report = asked
      ? await torture(section, asked.tries ?? tries, asked.seed, asked.from)
      : await torture(section, few, 1);
    if (asked?.report) writeFileSync(asked.report, JSON.stringify(report));
    expect(report.findings).toEqual([]);
  });
}
