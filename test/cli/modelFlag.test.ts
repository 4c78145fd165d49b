import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import { afterEach, beforeEach, expect, test } from "vitest";
import { findModel, modelArgument, modelSource } from "../../src/cli/modelFlag.ts";
import { scratchFolder } from "../support/cli.ts";

const scratch = scratchFolder();
const home = process.cwd();
const shipped = resolve("weights/pixel-avatars-16");
mkdirSync(join(scratch, "weights/mine"), { recursive: true });
mkdirSync(join(scratch, "near"));
writeFileSync(join(scratch, "file"), "");

beforeEach(() => process.chdir(scratch));
afterEach(() => process.chdir(home));

test("without the flag it is the package's model, from any folder", () => {
  expect(findModel(undefined)).toBe(shipped);
});

test("a bare name is a folder here, in weights/ here, or in the package", () => {
  expect(findModel("near")).toBe("near");
  expect(findModel("mine")).toBe(join("weights", "mine"));
  expect(findModel("pixel-avatars-16")).toBe(shipped);
});

test("anything else is a path", () => {
  expect(findModel("./near")).toBe("./near");
  expect(findModel(".")).toBe(".");
  expect(findModel(shipped)).toBe(shipped);
  expect(() => findModel("./mine")).toThrow("./mine: there is no such folder");
  expect(() => findModel("nobody")).toThrow("nobody: there is no such folder, here or in weights/");
  expect(() => findModel("no.ckpt")).toThrow("no.ckpt: there is no such file, here or in weights/");
  expect(() => modelSource({ model: "file" })).toThrow("file: is neither a folder nor a .safetensors, .ckpt,");
});

test("a picture names the package's models by name and others as they were given", () => {
  symlinkSync(shipped, join(scratch, "link"));
  expect(modelArgument(undefined)).toBe("pixel-avatars-16");
  expect(modelArgument("link")).toBe("pixel-avatars-16");
  expect(modelArgument(shipped)).toBe("pixel-avatars-16");
  expect(modelArgument("near")).toBe("near");
});
