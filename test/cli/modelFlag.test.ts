import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { modelArgument, modelSource } from "../../src/cli/modelFlag.ts";
import { placeOfModel } from "../../src/node/modelName.ts";
import { scratchFolder } from "../support/cli.ts";

const scratch = scratchFolder();
const home = process.cwd();
const shipped = resolve("weights/pixel-avatars-16");
mkdirSync(join(scratch, "weights/mine"), { recursive: true });
mkdirSync(join(scratch, "near"));
writeFileSync(join(scratch, "file"), "");

beforeEach(() => process.chdir(scratch));
afterEach(() => process.chdir(home));

const pathOf = (name: string) => {
  const place = placeOfModel(name);
  return place.kind === "disk" ? place.path : undefined;
};

test("without the flag it is the package's model, from any folder", () => {
  expect(modelSource({}).name).toBe(shipped);
});

test("a bare name is a folder here, in weights/ here, or in the package", () => {
  expect(pathOf("near")).toBe("near");
  expect(pathOf("mine")).toBe(join("weights", "mine"));
  expect(pathOf("pixel-avatars-16")).toBe(shipped);
});

test("anything else is a path, if it is no address and no id", () => {
  expect(pathOf("./near")).toBe("./near");
  expect(pathOf(".")).toBe(".");
  expect(pathOf(shipped)).toBe(shipped);
  expect(pathOf(pathToFileURL(shipped).href)).toBe(shipped);
  expect(pathOf(join(shipped, "model_index.json"))).toBe(shipped);
  expect(() => placeOfModel("./mine")).toThrow("./mine: there is no such folder");
  expect(() => placeOfModel("nobody")).toThrow("nobody: there is no such folder, here or in weights/");
  expect(() => placeOfModel("no.ckpt")).toThrow("no.ckpt: there is no such file, here or in weights/");
  expect(() => placeOfModel("some/no.ckpt")).toThrow("some/no.ckpt: there is no such file");
  expect(() => placeOfModel("https://")).toThrow("https:// is not a URL");
  expect(() => placeOfModel("file://elsewhere/x")).toThrow("file://elsewhere/x is no path on this machine");
  expect(() => modelSource({ model: "file" })).toThrow("file: is neither a folder nor a .safetensors, .ckpt,");
});

test("a picture names the package's models by name and others as they were given", () => {
  symlinkSync(shipped, join(scratch, "link"));
  expect(modelArgument(undefined)).toBe("pixel-avatars-16");
  expect(modelArgument("link")).toBe("pixel-avatars-16");
  expect(modelArgument(shipped)).toBe("pixel-avatars-16");
  expect(modelArgument("near")).toBe("near");
});
