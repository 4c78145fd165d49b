import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { planOutput } from "../../src/cli/imageOutput.ts";
import { checkFile, checkFolder, writeFile } from "../../src/cli/output.ts";
import { scratchFolder } from "../support/cli.ts";

const scratch = scratchFolder();
const at = (...parts: string[]) => join(scratch, ...parts);
mkdirSync(at("folder"));
writeFileSync(at("old.png"), "old");
writeFileSync(at("old-001.png"), "old");

test("checking leaves no trace", () => {
  const before = readdirSync(scratch);
  checkFile(at("new.png"), false);
  checkFile(at("old.png"), true);
  checkFolder(at("folder"));
  checkFolder(at("new-folder"));
  expect(readdirSync(scratch)).toEqual(before);
  expect(readdirSync(at("folder"))).toEqual([]);
  expect(readFileSync(at("old.png"), "utf8")).toBe("old");
});

test.each([
  [() => checkFile(at("old.png"), false), "old.png: exists already; --overwrite replaces it"],
  [() => checkFile(at("folder"), true), "folder: is a folder"],
  [() => checkFile(at("no/x.png"), false), "x.png: cannot be written, there is no folder"],
  [() => checkFile(at("old.png/x.png"), false), "x.png: cannot be written, there is no folder"],
  [() => checkFolder(at("old.png")), "old.png: is not a folder"],
  [() => checkFolder(at("no/new/")), "there is no folder"],
  [() => planOutput("%d-%02d.png", 2, false), "-o %d-%02d.png: one number names a file, so leave one %d"],
  // Not even root can make files there.
  [() => checkFile("/proc/self/x.png", false), "/proc/self/x.png: cannot be written (E"],
])("what cannot be written is refused: %#", (check, message) => {
  expect(check).toThrow(message);
});

test("a file appears whole, or the old one stays", () => {
  writeFile(at("folder/a.txt"), "whole");
  expect(readFileSync(at("folder/a.txt"), "utf8")).toBe("whole");
  mkdirSync(at("blocked.png/inside"), { recursive: true });
  expect(() => writeFile(at("blocked.png"), "x")).toThrow("blocked.png: cannot be written (E");
  expect(readdirSync(scratch).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});

test("the form of -o says what is written", () => {
  const plan = (name: string, count: number) => planOutput(at(name), count, false);
  expect(plan("sheet.png", 16)).toEqual({ form: "picture", paths: [at("sheet.png")] });
  expect(plan("x.safetensors", 16)).toEqual({ form: "tensors", paths: [at("x.safetensors")] });
  expect(plan("a-%03d.png", 2)).toEqual({ form: "files", paths: [at("a-000.png"), at("a-001.png")] });
  expect(plan("%d.png", 11).paths.at(-1)).toBe(at("10.png"));
  expect(plan("folder", 2)).toEqual({
    form: "files",
    paths: [at("folder", "000.png"), at("folder", "001.png")],
    folder: at("folder"),
  });
  expect(plan("made/", 1001)).toMatchObject({ form: "files", folder: at("made/") });
  expect(plan("made/", 1001).paths.at(-1)).toBe(at("made", "1000.png"));
  expect(() => plan("x.webp", 1)).toThrow("the name must end in .png, .safetensors or / (a folder)");
  expect(() => plan("old-%03d.png", 2)).toThrow("old-001.png: exists already");
  expect(() => plan("gone/a-%d.png", 2)).toThrow("there is no folder");
});
