/** The README's blocks run as they stand there, or say why not; the Chinese one has the same. */
import { execFile } from "node:child_process";
import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { scratchFolder } from "./support/cli.ts";
import { type Block, blocks, shellLines } from "./support/markdown.ts";

const run = promisify(execFile);
const readme = readFileSync("README.md", "utf8");
const chinese = readFileSync("README.zh-CN.md", "utf8");
const scratch = scratchFolder();

/** Why a block is not run here, as the sentence before it says. */
const mark = ({ before }: Block): string | undefined => /\b(not run by tests|run by CI)\)/.exec(before)?.[1];
const of = (language: string) => blocks(readme).filter((block) => block.language === language && !mark(block));

test("blocks of js and html are the examples that test/consumers runs from the packed tarball", () => {
  const examples = { html: "examples/page/index.html", js: "examples/node/index.js" };
  for (const [language, file] of Object.entries(examples))
    for (const { code } of of(language)) expect(code).toBe(readFileSync(file, "utf8"));
});

test("a page weighs what the README says", () => {
  const limit = /^const LIMIT = ([\d_]+);$/m.exec(readFileSync("test/browser/bundle.test.ts", "utf8"))![1]!;
  expect(readme).toContain(`at most ${Number(limit.replaceAll("_", "")) / 1000} kB`);
});

test("every block is run, by tests or by CI, or says that it is not", () => {
  const ways = blocks(readme).map((block) => mark(block) ?? block.language);
  const known = ["html", "js", "sh", "not run by tests", "run by CI"];
  expect(ways.filter((way) => !known.includes(way))).toEqual([]);
  for (const way of known) expect(ways).toContain(way);
});

test("CI runs what is said to be run by it", () => {
  const scripts = [".github/workflows/ci.yml", ".ci/run"].map((file) => readFileSync(file, "utf8")).join("");
  const lines = blocks(readme)
    .filter((block) => mark(block) === "run by CI")
    .flatMap(({ code }) => shellLines(code));
  expect(lines).toContain("npm test");
  for (const line of lines) expect(scripts).toContain(line);
});

test("the lines for a shell run, in their order, and write what they name", async () => {
  const npx = join(scratch, "npx");
  const ddim = `exec '${process.execPath}' '${resolve("bin/ddim.js")}' "$@"`;
  writeFileSync(npx, `#!/bin/sh\n[ "$1" = ddim ] || exit 64\nshift\n${ddim}\n`);
  chmodSync(npx, 0o755);
  const code = of("sh").map(({ code }) => code);
  const env = { ...process.env, PATH: `${scratch}:${process.env.PATH}` };
  const { stdout } = await run("bash", ["-ec", code.join("")], { cwd: scratch, env });
  expect(stdout).toContain("command: ddim sample -m pixel-avatars-16 -n 8 -S 20 --seed 7 --grid -o faces.png");
  const written = readdirSync(scratch);
  const outputs = [...code.join("").matchAll(/ -o '?([^\s']+)/g)].map(([, name]) => name!);
  expect(outputs.length).toBeGreaterThan(4);
  for (const name of outputs) {
    const pattern = new RegExp(`^${name.replace(".", "\\.").replace(/%0?(\d*)d/, "\\d+")}$`);
    expect(
      written.filter((file) => pattern.test(file)),
      name,
    ).not.toEqual([]);
  }
});

describe("README.zh-CN.md is the same in Chinese", () => {
  const code = (page: string) =>
    blocks(page).map(({ language, code }) => [language, code.replace(/(^|\s)(#|\/\/) .*$/gm, "").replace(/ +$/gm, "")]);
  const depths = (page: string) =>
    [...page.replace(/^```[\s\S]*?^```$/gm, "").matchAll(/^#+(?= )/gm)].map(([hashes]) => hashes.length);
  const targets = (page: string) => [...page.matchAll(/\]\(([^)#]+)\)/g)].map(([, to]) => to!);
  const options = (page: string) => [...page.matchAll(/`(?:npx )?(?:--?[a-zA-Z]|ddim)[^`]*`/g)].map(([span]) => span);
  /** What only the Chinese one has: which option is which formula. */
  const table = /^### .*\n\n(?:(?!^#).*\n)*?\| 公式 [\s\S]*?(?=^## )/m;
  const common = chinese.replace(table, "");

  test("it has a table of formulas of its own", () => {
    const rows = table.exec(chinese)![0].match(/^\| .+ \|$/gm)!;
    expect(rows.length).toBeGreaterThan(10);
    for (const row of rows) expect(row.split(" | ")).toHaveLength(3);
  });

  test("the same blocks but for comments, sections, tables, links, options", () => {
    expect(code(common)).toEqual(code(readme));
    expect(depths(common)).toEqual(depths(readme));
    expect(common.match(/^\| /gm)!.length).toBe(readme.match(/^\| /gm)!.length);
    expect(targets(common).slice(1)).toEqual(targets(readme).slice(1));
    expect([targets(common)[0], targets(readme)[0]]).toEqual(["README.md", "README.zh-CN.md"]);
    expect(options(common).toSorted()).toEqual(options(readme).toSorted());
  });
});
