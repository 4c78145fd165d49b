/** What keeps src/ and bench/ readable: no long file in src/, and no circle of imports in either, of types neither. */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const MOST_LINES = 260;

const sources = (folder: string) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts") && !name.includes("node_modules"))
    .map((name) => join(ROOT, folder, name));

/** A way from a file back to itself along what each file imports; empty where there is none. */
function circle(imports: ReadonlyMap<string, readonly string[]>): string[] {
  const done = new Set<string>();
  const walk = (file: string, path: readonly string[]): string[] => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return [];
    const found = (imports.get(file) ?? []).map((next) => walk(next, [...path, file])).find(({ length }) => length > 0);
    done.add(file);
    return found ?? [];
  };
  return [...imports.keys()].map((file) => walk(file, [])).find(({ length }) => length > 0) ?? [];
}

test(`no file of src has more than ${MOST_LINES} lines`, () => {
  const files = sources("src");
  expect(files.length).toBeGreaterThan(300);
  const lines = (file: string) => readFileSync(file, "utf8").trimEnd().split("\n").length;
  expect(files.filter((file) => lines(file) > MOST_LINES).map((file) => relative(ROOT, file))).toEqual([]);
});

test("no circle of imports, lazy ones included", () => {
  const imports = new Map(
    [...sources("src"), ...sources("bench")].map((file) => {
      const { importedFiles } = ts.preProcessFile(readFileSync(file, "utf8"), true, true);
      const own = importedFiles.filter(({ fileName }) => fileName.startsWith("."));
      return [file, own.map(({ fileName }) => join(file, "..", fileName))] as const;
    }),
  );
  expect([...imports.values()].flat().length).toBeGreaterThan(1000);
  expect(circle(imports).map((file) => relative(ROOT, file))).toEqual([]);
  expect(circle(new Map([["a", ["b"]], ["b", ["c", "a"]]]))).toEqual(["a", "b", "a"]); // biome-ignore format: one line
});
