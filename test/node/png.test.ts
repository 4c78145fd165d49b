/** readPng: files of every kind become RGBA, and bad ones one clear error. */
import { Buffer } from "node:buffer";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PNG } from "pngjs";
import { afterAll, describe, expect, it } from "vitest";
import { encodePng } from "../../src/image/png.ts";
import { readPng } from "../../src/node/png.ts";
import { FileError } from "../../src/runtime/errors.ts";

const folder = mkdtempSync(join(tmpdir(), "ddim-png-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

describe("readPng", () => {
  it("reads back what encodePng writes", async () => {
    const data = Uint8ClampedArray.from({ length: 4 * 6 }, (_, i) => i * 10);
    const path = file("own.png", await encodePng({ width: 3, height: 2, data }));
    expect(await readPng(path)).toEqual({ width: 3, height: 2, data });
  });

  it("turns grey into RGBA", async () => {
    const png = new PNG({ width: 2, height: 1 });
    png.data = Buffer.of(7, 7, 7, 255, 200, 200, 200, 255);
    const path = file("grey.png", PNG.sync.write(png, { colorType: 0 }));
    expect([...(await readPng(path)).data]).toEqual([7, 7, 7, 255, 200, 200, 200, 255]);
  });

  it("names the file that it cannot read", async () => {
    const png = await encodePng({ width: 3, height: 2, data: new Uint8ClampedArray(24) });
    const damaged = png.slice();
    damaged[20]! ^= 1;
    const bad = [
      join(folder, "missing.png"),
      folder,
      file("empty.png", new Uint8Array(0)),
      file("not.png", Buffer.from("GIF89a and so on")),
      file("cut.png", png.subarray(0, png.length - 20)),
      file("cut-early.png", png.subarray(0, 20)),
      file("damaged.png", damaged),
    ];
    for (const path of bad) {
      await expect(readPng(path), path).rejects.toThrow(FileError);
      await expect(readPng(path), path).rejects.toThrow(`${path}: `);
    }
  });
});
