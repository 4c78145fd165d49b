import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { modelArgument, modelSource } from "../../src/cli/modelFlag.ts";
import { placeOfModel } from "../../src/node/modelName.ts";
import { UsageError } from "../../src/runtime/errors.ts";
import { toSource } from "../../src/weights/to-source.ts";
import { modelCache } from "../../src/weights/web.ts";
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

test.each([
  ["org/name@", "; an id of the Hugging Face Hub is org/name, or org/name@revision"],
  ["org/na me", "; an id of the Hugging Face Hub is org/name, or org/name@revision"],
  ["org/name/", "; an id of the Hugging Face Hub is org/name, or org/name@revision"],
  ["ftp://host/model", "; addresses begin with https://, http:// or file://"],
  ["https:/host/model", "; addresses begin with https://, http:// or file://"],
  ["file:/model", "; addresses begin with https://, http:// or file://"],
  ["huggingface.co/org/name", "; that page's address is https://huggingface.co/org/name"],
])("what is nearly an id or an address is told how they look: %s", (name, hint) => {
  expect(() => placeOfModel(name)).toThrow(`${name}: there is no such folder${hint}`);
});

test.each(["", " ", "\t"])("an empty name is no model, here or in a page: %j", async (name) => {
  expect(() => placeOfModel(name)).toThrow(new UsageError("source", "the model's name is empty"));
  expect(() => toSource(name)).toThrow("the model's name is empty");
  await expect(modelCache.clear(name)).rejects.toThrow("modelCache.clear takes a model's name or URL, or nothing, got");
});

test.each([undefined, null, 5, {}, "https://"])("what names no model removes none that is kept: %j", async (given) => {
  await expect(modelCache.clear(given as never)).rejects.toThrow(`or nothing, got ${JSON.stringify(given)}`);
});

test("a picture names the package's models by name and others as they were given", () => {
  symlinkSync(shipped, join(scratch, "link"));
  expect(modelArgument(undefined)).toBe("pixel-avatars-16");
  expect(modelArgument("link")).toBe("pixel-avatars-16");
  expect(modelArgument(shipped)).toBe("pixel-avatars-16");
  expect(modelArgument("near")).toBe("near");
  expect(modelArgument(pathToFileURL(join(scratch, "near")).href)).toBe(join(scratch, "near"));
});
