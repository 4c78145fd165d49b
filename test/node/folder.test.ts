import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { folderSource, openSafetensorsFile } from "../../src/node/folder.ts";
import { toNodeSource } from "../../src/node/source.ts";
import { encodeSafetensors } from "../../src/weights/encode.ts";
import type { ModelSource } from "../../src/weights/source.ts";
import { failure } from "../weights/memory-source.ts";

const bytes = Uint8Array.from({ length: 100 }, (_, i) => i);
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "ddim-folder-"));
  mkdirSync(join(folder, "model/unet"), { recursive: true });
  writeFileSync(join(folder, "model/a.bin"), bytes);
  writeFileSync(join(folder, "model/unet/empty.bin"), "");
  writeFileSync(join(folder, "blob"), bytes);
  symlinkSync("../../blob", join(folder, "model/unet/linked.bin"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Puts another file in a file's place, as downloads and safe writers do. */
function replace(path: string, data: Uint8Array): void {
  writeFileSync(`${path}.new`, data);
  renameSync(`${path}.new`, path);
}

function write(path: string, data: Uint8Array, position: number): void {
  const file = openSync(path, "r+");
  writeSync(file, data, 0, data.length, position);
  closeSync(file);
}

describe("folderSource", () => {
  const model = () => folderSource(join(folder, "model"));

  test("reads files and parts of them", async () => {
    const source = model();
    expect(await source.read("a.bin")).toEqual(bytes);
    expect(await source.read("a.bin", { start: 3, end: 7 })).toEqual(bytes.slice(3, 7));
    expect(await source.read("unet/empty.bin")).toEqual(new Uint8Array(0));
    const target = new Uint8Array(4);
    await source.readInto?.("a.bin", 96, target);
    expect(target).toEqual(bytes.slice(96));
    expect(await source.size("a.bin")).toBe(100);
    expect((await source.list?.(""))?.sort()).toEqual(["a.bin", "unet"]);
    expect(await source.list?.("vae")).toEqual([]);
  });

  test("knows what is a file", async () => {
    const source = model();
    expect(await source.exists("a.bin")).toBe(true);
    expect(await source.exists("unet")).toBe(false);
    expect(await source.exists("b.bin")).toBe(false);
    expect(await source.exists("a.bin/x")).toBe(false);
    expect(await failure(source.read("unet"))).toContain("model/unet: is not a file");
    expect(await failure(source.read("b.bin"))).toBe(`${folder}/model/b.bin: there is no such file`);
    expect(await failure(source.read("a.bin", { start: 99, end: 101 }))).toBe(
      `${folder}/model/a.bin: is cut off: it has 100 bytes, but bytes 99 to 101 were needed`,
    );
  });

  test("follows links, as the Hugging Face cache is made of them", async () => {
    expect(await model().read("unet/linked.bin", { start: 1, end: 2 })).toEqual(Uint8Array.of(1));
  });

  test.skipIf(process.platform !== "linux")("closes what it opens, also when it fails", async () => {
    const source = model();
    const open = async () => (await readdir("/proc/self/fd")).length;
    const before = await open();
    for (let i = 0; i < 20; i++) {
      await source.read("a.bin", { start: 0, end: 1 });
      await source.size("a.bin");
      await failure(source.read("a.bin", { start: 0, end: 1000 }));
      await failure(source.read("unet"));
      await failure(source.read("a.bin", undefined, AbortSignal.abort()), "AbortError");
    }
    expect(await open()).toBeLessThanOrEqual(before + 2);
  });

  /** Each changes a file of a hundred bytes in another way; none can be seen from its length alone but the last. */
  const changes: [string, (path: string) => void][] = [
    [
      "replaced by a file of the same length",
      (path) =>
        replace(
          path,
          bytes.map((b) => b ^ 1),
        ),
    ],
    ["replaced by one of the same bytes", (path) => replace(path, bytes)],
    ["written to", (path) => write(path, Uint8Array.of(9), 50)],
    ["made longer", (path) => appendFileSync(path, "!")],
    ["made shorter", (path) => truncateSync(path, 99)],
    [
      "replaced by one of the same time",
      (path) => {
        const { atime, mtime } = statSync(path);
        replace(path, bytes);
        utimesSync(path, atime, mtime);
      },
    ],
  ];

  test.each(changes)("a file that is %s after it was first read is not read on", async (_, change) => {
    const path = join(folder, "model/changing.bin");
    writeFileSync(path, bytes);
    utimesSync(path, 1e9, 1e9);
    const reads = [
      (source: ModelSource) => source.read("changing.bin", { start: 10, end: 20 }),
      (source: ModelSource) => source.readInto?.("changing.bin", 10, new Uint8Array(10)) as Promise<unknown>,
      (source: ModelSource) => source.read("changing.bin"),
      (source: ModelSource) => source.size("changing.bin"),
    ];
    const sources = reads.flatMap(() => [model(), model()]);
    for (const [i, source] of sources.entries()) {
      if (i % 2) await source.size("changing.bin");
      else await source.read("changing.bin", { start: 0, end: 1 });
    }
    change(path);
    for (const [i, source] of sources.entries())
      expect(await failure(reads[i >> 1]!(source))).toMatch(/model\/changing\.bin: .*changed while it was read/);
    // Whoever opens it now sees the new one.
    expect((await model().read("changing.bin", { start: 0, end: 1 })).length).toBe(1);
  });

  test("a stamp is another one for every state of a file, and the same while nothing happens", async () => {
    const path = join(folder, "model/stamped.bin");
    writeFileSync(path, bytes);
    const stamps = [await model().stamp?.("stamped.bin")];
    expect(await model().stamp?.("stamped.bin")).toBe(stamps[0]);
    for (const [, change] of changes) {
      change(path);
      stamps.push(await model().stamp?.("stamped.bin"));
      // Times of files are as coarse as the kernel's clock.
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(new Set(stamps).size).toBe(stamps.length);
  });

  test.skipIf(process.platform === "win32")("a pipe is no file, and is not waited for", async () => {
    execFileSync("mkfifo", [join(folder, "model/pipe")]);
    expect(await failure(model().read("pipe"))).toContain("model/pipe: is not a file");
    expect(await failure(model().size("pipe"))).toContain("model/pipe: is not a file");
    rmSync(join(folder, "model/pipe"));
  });

  test("a folder that is not there, or is a file", () => {
    expect(() => folderSource(join(folder, "nothing"))).toThrow("nothing: there is no such folder");
    expect(() => folderSource(join(folder, "blob"))).toThrow("blob: is not a folder");
  });
});

describe("toNodeSource", () => {
  test("takes paths, file: URLs, and what the core takes", async () => {
    const path = join(folder, "model");
    for (const from of [path, pathToFileURL(path), pathToFileURL(path).href])
      expect(await toNodeSource(from).size("a.bin")).toBe(100);
    expect(toNodeSource("https://example.com/m").name).toBe("https://example.com/m");
    expect(toNodeSource(new URL("https://example.com/m")).name).toBe("https://example.com/m");
    expect(await toNodeSource({ read: async () => bytes }).size("x")).toBe(100);
  });
});

describe("openSafetensorsFile", () => {
  test("reads a file, and names it when it cannot", async () => {
    const path = join(folder, "x.safetensors");
    writeFileSync(path, encodeSafetensors({ x: { dtype: "F32", shape: [2], data: Float32Array.of(1, 2) } }));
    const file = await openSafetensorsFile(path);
    expect([...(await file.read("x"))]).toEqual([1, 2]);
    truncateSync(path, 20);
    expect(await failure(openSafetensorsFile(path))).toContain(`${path}: is cut off`);
    expect(await failure(file.read("x"))).toContain(`${path}: is cut off: it has 20 bytes`);
    expect(await failure(openSafetensorsFile(join(folder, "y.safetensors")))).toContain(
      "y.safetensors: there is no such file",
    );
  });
});
