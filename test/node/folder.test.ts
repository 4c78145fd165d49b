import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { folderSource, openSafetensorsFile, toNodeSource } from "../../src/node/folder.ts";
import { encodeSafetensors } from "../../src/weights/encode.ts";
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
