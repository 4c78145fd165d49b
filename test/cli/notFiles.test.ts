/** Pipes, devices and folders where files are meant: refused at once as what is read, never replaced as what is written. */
import { execFileSync } from "node:child_process";
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { checkFile, writeFile, writePieces } from "../../src/cli/output.ts";
import { loadPipeline } from "../../src/node/index.ts";
import { packedFolder } from "../../src/node/packedFolder.ts";
import { ddim, scratchFolder } from "../support/cli.ts";

const scratch = scratchFolder();
const at = (...parts: string[]) => join(scratch, ...parts);
for (const ending of ["", ".png", ".safetensors", ".ckpt", ".json"]) {
  execFileSync("mkfifo", [at(`pipe${ending}`)]);
  symlinkSync("/dev/zero", at(`zero${ending}`));
  mkdirSync(at(`folder${ending}`));
}
const model = "weights/pixel-avatars-16";
const small = at("small.png");
writeFileSync(small, readFileSync("docs/avatars.png"));

/** Commands that read a file of this name, with its ending. */
const READERS: [ending: string, args: (path: string) => string[], folderToo?: boolean][] = [
  [".safetensors", (path) => ["forward", "--input", path, "-o", at("o.safetensors")]],
  [".safetensors", (path) => ["sample", "--noise", path, "-o", at("o.png")]],
  [".safetensors", (path) => ["sample", "--resume", path, "-o", at("o.png")]],
  [".png", (path) => ["edit", path, "-o", at("o.png")]],
  [".png", (path) => ["invert", path, "-o", at("o.safetensors")]],
  [".png", (path) => ["edit", small, "--mask", path, "-o", at("o.png")]],
  ["", (path) => ["inspect", path], false],
  [".png", (path) => ["inspect", path], false],
  [".ckpt", (path) => ["inspect", path], false],
  [".ckpt", (path) => ["sample", "-m", path, "-o", at("o.png")], false],
  [".json", (path) => ["sample", "-m", model, "--config", path, "-o", at("o.png")]],
  [".ckpt", (path) => ["convert", path, at("o.safetensors")]],
  ["", (path) => ["tune", "--import", path, "--cache", at("cache")]],
  [".json", (path) => ["bench", "compare", path, path]],
];

test.each(READERS)("as what is read: %s, %s", async (ending, args, folderToo = true) => {
  for (const name of ["pipe", "zero", ...(folderToo ? ["folder"] : [])]) {
    const path = at(name + ending);
    const began = performance.now();
    const { code, stderr, devices } = await ddim(args(path));
    expect(stderr).toContain(`${path}: is not a file`);
    expect([code, devices]).toEqual([1, 0]);
    expect(performance.now() - began).toBeLessThan(5000);
  }
});

test("a cache that is no folder, before anything is measured; a table that is none for its size alone", async () => {
  for (const name of ["pipe", "zero"]) {
    const { code, stderr, devices } = await ddim(["tune", "--cache", at(name)]);
    expect([code, stderr, devices]).toEqual([1, `ddim: ${at(name)}: is not a folder\n`, 0]);
  }
  writeFileSync(at("large.json"), "");
  truncateSync(at("large.json"), 2 ** 40);
  const { code, stderr } = await ddim(["tune", "--import", at("large.json"), "--cache", at("cache")]);
  expect(code).toBe(1);
  expect(stderr).toContain(`${at("large.json")}: is larger than any table`);
});

test("through the library", async () => {
  for (const name of ["pipe.ckpt", "zero.safetensors", "pipe"])
    await expect(loadPipeline(at(name))).rejects.toThrow(`${name}: is not a file`);
  await expect(loadPipeline(model, { config: at("pipe.json") })).rejects.toThrow("pipe.json: is not a file");
  // Files of a folder.
  const folder = at("model");
  mkdirSync(folder);
  writeFileSync(join(folder, "config.json"), readFileSync(`${model}/unet/config.json`));
  execFileSync("mkfifo", [join(folder, "model.safetensors")]);
  await expect(loadPipeline(folder)).rejects.toThrow("model.safetensors: is not a file");
});

test("as what is written, --overwrite or not", async () => {
  for (const name of ["pipe.png", "zero.png"]) {
    const before = lstatSync(at(name));
    for (const overwrite of [true, false])
      expect(() => checkFile(at(name), overwrite)).toThrow(`${name}: is not a file`);
    expect(() => writeFile(at(name), "x")).toThrow(`${name}: is not a file`);
    await expect(writePieces(at(name), (async function* () {})())).rejects.toThrow(`${name}: is not a file`);
    expect((await ddim(["sample", "-o", at(name), "--overwrite"])).stderr).toContain(`${name}: is not a file`);
    expect((await ddim(["sample", "-o", at("o.png"), "--save-state", at(name)])).stderr).toContain("is not a file");
    expect(lstatSync(at(name)).ino).toBe(before.ino);
  }
  expect((await ddim(["sample", "-o", at("o.png"), "--save-state", at("folder")])).stderr).toContain("is a folder");
  expect(() => checkFile("/dev/null", true)).toThrow("/dev/null: is not a file");
});

test("links stay, and what they lead to is written", async () => {
  mkdirSync(at("far"));
  writeFileSync(at("far/old.txt"), "old");
  symlinkSync("far/old.txt", at("link.txt"));
  symlinkSync(at("link.txt"), at("second.txt"));
  symlinkSync("far/new.txt", at("dangling.txt"));
  symlinkSync("round.txt", at("round.txt"));
  checkFile(at("second.txt"), true);
  writeFile(at("second.txt"), "new");
  expect(readFileSync(at("far/old.txt"), "utf8")).toBe("new");
  checkFile(at("dangling.txt"), false);
  await writePieces(
    at("dangling.txt"),
    (async function* () {
      yield new TextEncoder().encode("ma");
      yield new TextEncoder().encode("de");
    })(),
  );
  expect(readFileSync(at("far/new.txt"), "utf8")).toBe("made");
  expect(readlinkSync(at("link.txt"))).toBe("far/old.txt");
  expect(readlinkSync(at("dangling.txt"))).toBe("far/new.txt");
  expect(() => checkFile(at("link.txt"), false)).toThrow("link.txt: exists already");
  expect(() => checkFile(at("round.txt"), true)).toThrow("round.txt: is a symbolic link that leads in a circle");
  expect(readdirSync(at("far")).sort()).toEqual(["new.txt", "old.txt"]);
});

test("what breaks off leaves nothing, and the old file", async () => {
  writeFileSync(at("kept.txt"), "kept");
  const broken = (async function* () {
    yield new Uint8Array(10);
    throw new Error("enough");
  })();
  await expect(writePieces(at("kept.txt"), broken)).rejects.toThrow("enough");
  expect(readFileSync(at("kept.txt"), "utf8")).toBe("kept");
  expect(readdirSync(scratch).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});

test("a pipe in the cache is neither waited for nor replaced", async () => {
  mkdirSync(at("packed"));
  const path = at("packed", "weights-key.bin");
  execFileSync("mkfifo", [path]);
  const warnings: string[] = [];
  const store = packedFolder(at("packed"), (text) => warnings.push(text));
  expect(await store.open("key", [4])).toBeUndefined();
  await store.save("key", [4], (async function* () {})(), "note");
  expect(lstatSync(path).isFIFO()).toBe(true);
  expect(warnings.at(-1)).toBe(`${path}: is not a file`);
});
