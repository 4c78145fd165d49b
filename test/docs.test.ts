/** The pages and the pictures of docs/ belong together. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";

const docs = readdirSync("docs", { recursive: true }).map((name) => join("docs", String(name)));
const beside = ["bench/README.md", "test/golden/README.md", "weights/README.md"];
const pages = [...readdirSync("."), ...docs, ...beside].filter((name) => name.endsWith(".md"));
const links = pages.flatMap((page) =>
  [...readFileSync(page, "utf8").matchAll(/\]\((?!https?:)([^)#]+)\)/g)].map(([, to]) => ({
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
