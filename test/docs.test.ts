/** The pages and the pictures of docs/ belong together, and what pages say of the command line is so. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { expect, test } from "vitest";
import { createProgram } from "../src/cli/program.ts";
import { codeLines, ddimCalls } from "./support/markdown.ts";

const docs = readdirSync("docs", { recursive: true }).map((name) => join("docs", String(name)));
const beside = ["bench/README.md", "examples/README.md", "test/golden/README.md", "weights/README.md"];
const pages = [...readdirSync("."), ...docs, ...beside].filter((name) => name.endsWith(".md"));
const text = (page: string): string => readFileSync(page, "utf8");
const links = pages.flatMap((page) =>
  [...text(page).matchAll(/\]\((?!https?:)([^)#]+)(#[^)]*)?\)/g)].map(([, to]) => ({
    page,
    file: join(dirname(page), to!),
  })),
);

test("every file that a page links is there", () => {
  expect(links.length).toBeGreaterThan(20);
  expect(links.filter(({ file }) => !existsSync(file))).toEqual([]);
});

test("every picture is shown somewhere, and not large", () => {
  const shown = new Set(links.map(({ file }) => file));
  const pictures = readdirSync("docs/pictures").map((name) => join("docs/pictures", name));
  expect(pictures.filter((picture) => !shown.has(picture))).toEqual([]);
  expect(pictures.filter((picture) => statSync(picture).size > 150_000)).toEqual([]);
});

const ignored = { isTTY: false, columns: 100, write: () => true };
const program = createProgram(
  { stdout: ignored, stderr: ignored, env: {}, signal: AbortSignal.abort() } as unknown as Parameters<
    typeof createProgram
  >[0],
  () => {},
);
const find = (command: Command, name = "") => command.commands.find((one) => one.name() === name);
const flags = (command: Command) => ["--help", "-h", ...command.options.flatMap(({ short, long }) => [short, long])];
const isFlag = (word: string) => /^--?[a-zA-Z]/.test(word);
/** Without quotes, and of `--flag=value` the flag. */
const bare = (word: string) => word.replace(/^['"(]+|['",.)]+$/g, "").replace(/=.*/, "");

test("the commands that pages name exist, with the flags they are shown with", () => {
  const calls = pages.flatMap((page) =>
    codeLines(text(page))
      .flatMap(ddimCalls)
      .map((words) => ({ page, words })),
  );
  expect(calls.length).toBeGreaterThan(60);
  for (const { page, words } of calls) {
    const what = `${page}: ddim ${words.join(" ")}`;
    const command = find(program, words[0]);
    expect(command, what).toBeDefined();
    const inner = command!.commands.length > 0 ? (find(command!, words[1]) ?? find(command!, "run")) : command;
    for (const word of words.map(bare).filter(isFlag)) expect(flags(inner!), what).toContain(word);
  }
});

test("the flags that pages name by themselves exist", () => {
  const known = new Set(program.commands.flatMap((one) => [one, ...one.commands]).flatMap(flags));
  const others = [
    "--ignore-scripts",
    "--runs",
    "--only",
    "--tries",
    "--from",
    "--reader",
    "--tests",
    "--quick",
    "--html",
  ];
  for (const page of pages.filter((page) => !page.startsWith("bench"))) {
    const named = codeLines(text(page)).filter((line) => /^--[a-z]/.test(line));
    for (const word of named.map((line) => bare(line.split(/\s/)[0]!)))
      expect([...known, ...others], `${page}: ${word}`).toContain(word);
  }
});

test("one name for the hub's command", () => {
  expect(pages.filter((page) => text(page).includes("huggingface-cli"))).toEqual([]);
});
