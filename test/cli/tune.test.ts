/** `ddim tune`: a table in the cache folder, which other commands use and name. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ddim, scratchFolder } from "../support/cli.ts";

const scratch = scratchFolder();
const cache = join(scratch, "cache");
const file = join(scratch, "table.json");
const MODEL = "test/golden/models/ddpm_g32";

const tune = (...args: string[]) => ddim(["tune", "-m", MODEL, "-q", ...args]);

test("without a folder or a file there is nothing to remember in", async () => {
  const { code, stderr, devices } = await tune();
  expect({ code, devices }).toEqual({ code: 2, devices: 0 });
  expect(stderr).toContain("--cache DIR");
});

test("measures, remembers, exports; other commands take what was measured", async () => {
  const { code, stdout } = await tune("--export", file, "--json", "--cache", cache);
  expect(code).toBe(0);
  const report = JSON.parse(stdout);
  const [name = "", ...more] = readdirSync(cache);
  expect({ name, more }).toEqual({ name: expect.stringMatching(/^methods-[0-9a-f]{12}\.json$/), more: [] });
  expect(report.file).toBe(join(cache, name));
  const table = JSON.parse(readFileSync(file, "utf8"));
  expect(JSON.parse(readFileSync(report.file, "utf8"))).toEqual(table);
  expect(report.entries).toEqual(table.entries);

  // An imported table is believed, and measures nothing where it knows everything.
  for (const [conv2d, attention] of [
    ["winograd", "products"],
    ["gather", "broadcast"],
  ]) {
    const methods = { conv2d, attention };
    const entries = Object.keys(table.entries).map((key) => {
      const method = methods[key.split(" ")[0] as keyof typeof methods] as string;
      return [key, { method, ms: { [method]: 1 } }];
    });
    writeFileSync(file, JSON.stringify({ ...table, entries: Object.fromEntries(entries) }));
    const own = join(scratch, conv2d as string);
    const outcome = await ddim(["tune", "-m", MODEL, "--import", file, "--json", "--cache", own]);
    // What a hand has changed is no longer what was written.
    expect(outcome.stderr).toContain(`${file}: is edited or damaged`);
    const imported = JSON.parse(outcome.stdout);
    expect(imported.entries).toEqual(Object.fromEntries(entries));
    const inspected = await ddim(["inspect", MODEL, "--json", "--cache", own]);
    const kernels = JSON.parse(inspected.stdout).kernels.map(({ kernel }: { kernel: string }) => kernel);
    expect(kernels.includes("winogradProduct")).toBe(conv2d === "winograd");
    expect(kernels.includes("attentionScores")).toBe(attention === "products");
  }
});

test("a damaged or foreign table is one sentence with its name: a warning in the cache, an error to import", async () => {
  const report = JSON.parse((await tune("--import", file, "--json", "--cache", cache)).stdout);
  const text = readFileSync(report.file, "utf8");
  const untuned = await ddim(["inspect", MODEL, "--json", "--cache", join(scratch, "none")]);
  const flipped = text.replace(/[1-8](?=\d*\n)/, (digit) => String(Number(digit) ^ 2));
  for (const [content, reason, imports] of [
    [text.slice(0, -20), "it is not JSON", false],
    [text.slice(0, text.length >> 1), "it is not JSON", false],
    ["", "it is not JSON", false],
    [text.replace(/"adapter": "/, '"adapter": "another '), "was measured on another adapter or driver", false],
    [text.replace(/: [\d.]+\n/, ": 1e999\n"), "is damaged: it has an entry that makes no sense", false],
    [flipped, "damaged", true],
  ] as const) {
    writeFileSync(report.file, content);
    const inspected = await ddim(["inspect", MODEL, "--json", "--cache", cache]);
    expect(inspected.code).toBe(0);
    expect(JSON.parse(inspected.stdout).kernels).toEqual(JSON.parse(untuned.stdout).kernels);
    expect(inspected.stderr).toMatch(/^warning: [^\n]+; passed over, `ddim tune` replaces it\n$/);
    expect(inspected.stderr).toContain(`${report.file}: `);
    expect(inspected.stderr).toContain(reason);
    writeFileSync(file, content);
    const imported = await ddim(["tune", "-m", MODEL, "-q", "--import", file, "--cache", join(scratch, "imported")]);
    expect(imported.code).toBe(imports ? 0 : 1);
    if (!imports) expect(imported.stderr).toMatch(/^ddim: [^\n]+\n$/);
  }
  const made = await ddim(["sample", "-S", "1", "--seed", "1", "--cache", cache, "-o", join(scratch, "s.png")]);
  expect({ code: made.code, warned: made.stderr.includes("is damaged: the checksum is another") }).toEqual({
    code: 0,
    warned: true,
  });
  // Measuring takes no notice of it, and puts a good one in its place.
  writeFileSync(file, text);
  const again = await ddim(["tune", "-m", MODEL, "--import", file, "--cache", cache]);
  expect(again.code).toBe(0);
  expect(again.stderr).toContain("passed over");
  expect(readFileSync(report.file, "utf8")).toBe(text);
});

test("a picture names the table that was in use", async () => {
  const entries = { "attention 1 x 1x1x1 f32": { method: "direct", ms: { direct: 1 } } };
  writeFileSync(file, readFileSync(join(scratch, "gather", readdirSync(join(scratch, "gather"))[0] as string)));
  const table = { ...JSON.parse(readFileSync(file, "utf8")), entries };
  writeFileSync(file, JSON.stringify(table));
  const own = join(scratch, "sampled");
  const tuned = await ddim(["tune", "-m", MODEL, "--import", file, "--cache", own, "--json"]);
  const { hash } = JSON.parse(tuned.stdout);
  const parameters = async (name: string, ...args: string[]) => {
    const path = join(scratch, name);
    expect((await ddim(["sample", "-S", "1", "-q", "-o", path, ...args])).code).toBe(0);
    return JSON.parse((await ddim(["inspect", path, "--json"])).stdout).parameters;
  };
  expect((await parameters("with.png", "--cache", own)).tuning).toBe(hash);
  expect((await parameters("without.png")).tuning).toBeUndefined();
});
