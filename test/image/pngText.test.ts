/** Text chunks: what we write we read back, what others write we read too, and damage is one clear error. */
import { Buffer } from "node:buffer";
import { deflateSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodePng } from "../../src/image/png.ts";
import { crc32, type PngChunk, readChunks, writeChunks } from "../../src/image/pngChunks.ts";
import { readPngText } from "../../src/image/pngText.ts";
import { FileError, UsageError } from "../../src/runtime/errors.ts";

const image = { width: 1, height: 1, data: Uint8ClampedArray.of(1, 2, 3, 255) };
const types = (png: Uint8Array) => readChunks(png, "test").map((chunk) => chunk.type);

/** A file that holds one more chunk before its end. */
async function withChunk(type: string, data: Uint8Array): Promise<Uint8Array> {
  const chunks: PngChunk[] = readChunks(await encodePng(image), "test");
  return writeChunks([...chunks.slice(0, -1), { type, data }, ...chunks.slice(-1)]);
}

describe("text that we write", () => {
  it("is tEXt for Latin-1 and iTXt for anything else, before the pixels", async () => {
    const text = { plain: "café\nsecond line", greek: "λόγος", tab: "a\tb", empty: "" };
    const png = await encodePng(image, text);
    expect(types(png)).toEqual(["IHDR", "tEXt", "iTXt", "iTXt", "tEXt", "IDAT", "IEND"]);
    expect(await readPngText(png)).toEqual(text);
  });

  it("comes back whatever it is", async () => {
    const value = fc.string({ unit: "binary" }).filter((s) => !s.includes("\0"));
    await fc.assert(
      fc.asyncProperty(value, async (text) => {
        expect(await readPngText(await encodePng(image, { key: text }))).toEqual({ key: text });
      }),
      { numRuns: 100 },
    );
  });

  it.each(["", "x".repeat(80), " lead", "trail ", "two  spaces", "λ", "line\nfeed", "nul\0"])(
    "has no keyword %j",
    async (keyword) => {
      await expect(encodePng(image, { [keyword]: "x" })).rejects.toThrow(UsageError);
    },
  );

  it("holds no NUL", async () => {
    await expect(encodePng(image, { key: "a\0b" })).rejects.toThrow('PNG text "key" must not hold a NUL character');
  });

  it("may be called __proto__", async () => {
    const text = JSON.parse('{"__proto__": "x"}');
    expect(Object.entries(await readPngText(await encodePng(image, text)))).toEqual([["__proto__", "x"]]);
  });
});

describe("text that others write", () => {
  it("is read from tEXt, zTXt, iTXt and compressed iTXt", async () => {
    // Pillow 13.0: PngInfo.add_text("plain", …), add_text("packed", "x" * 200, zip=True),
    // add_itxt("greek", …, lang="el", tkey="ελληνικά"), add_itxt("greek packed", "λ" * 100, zip=True).
    const pillow =
      "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAAEXRFWHRwbGFpbgBjYWbpCmxpbmUgMuTCyjwAAAAUelRYdHBhY2tlZAAAeJyr" +
      "qBgeAADQxF3B7Nz3YwAAACZpVFh0Z3JlZWsAAABlbADOtc67zrvOt869zrnOus6sAM67z4zOs86/z4L/SLZDAAAAHmlUWHRncmVlayBwYWNr" +
      "ZWQAAQAAAHicO7f73LCAAExUmYURTTSdAAAAD0lEQVR4nGP4z8DAyMQMAAYLAQYEC5ktAAAAAElFTkSuQmCC";
    expect(await readPngText(Buffer.from(pillow, "base64"))).toEqual({
      plain: "café\nline 2",
      packed: "x".repeat(200),
      greek: "λόγος",
      "greek packed": "λ".repeat(100),
    });
  });

  it("may follow the pixels, and the last of a keyword counts", async () => {
    const chunks = readChunks(await encodePng(image, { key: "first" }), "test");
    const late = { type: "tEXt", data: Buffer.from("key\0last") };
    expect(await readPngText(writeChunks([...chunks.slice(0, -1), late, ...chunks.slice(-1)]))).toEqual({
      key: "last",
    });
  });

  it.each([
    ["tEXt", Buffer.from("no separator")],
    ["zTXt", Buffer.from("key\0\x01data")],
    ["zTXt", Buffer.from("key\0\0not zlib")],
    ["zTXt", Buffer.concat([Buffer.from("key\0\0"), deflateSync("long enough to cut".repeat(9)).subarray(0, -6)])],
    ["zTXt", Buffer.concat([Buffer.from("bomb\0\0"), deflateSync(Buffer.alloc(17 * 2 ** 20))])],
    ["iTXt", Buffer.from("key\0")],
    ["iTXt", Buffer.from("key\0\x02\0\0\0text")],
    ["iTXt", Buffer.from("key\0\0\0en")],
    ["iTXt", Buffer.concat([Buffer.from("key\0\0\0\0\0"), Buffer.of(0xff, 0xfe)])],
  ])("malformed %s %# is a FileError that names the file", async (type, data) => {
    const failure = readPngText(await withChunk(type, data), "photo.png");
    await expect(failure).rejects.toThrow(FileError);
    await expect(failure).rejects.toThrow(`photo.png: has a ${type} chunk that cannot be read`);
  });
});

describe("the container", () => {
  it("has the CRC-32 of the PNG specification", () => {
    expect(crc32(Buffer.from("123456789"))).toBe(0xcbf43926);
    expect(crc32(Buffer.from("IEND"))).toBe(0xae426082);
  });

  it("refuses what is no PNG", async () => {
    for (const bytes of [Buffer.alloc(0), Buffer.from("GIF89a"), Buffer.from("\xff\xd8\xff\xe0 JFIF file", "latin1")])
      await expect(readPngText(bytes, "a.png")).rejects.toThrow("a.png: is not a PNG file");
  });

  it("refuses a file cut off anywhere", async () => {
    const png = await encodePng(image, { key: "value" });
    for (let length = 1; length < png.length; length++)
      await expect(readPngText(png.subarray(0, length), "a.png")).rejects.toThrow("is cut off at byte");
  });

  it("notices every changed byte", async () => {
    const png = await encodePng(image, { key: "value" });
    for (let i = 0; i < png.length; i++) {
      const damaged = png.slice();
      damaged[i]! ^= 0x20;
      await expect(readPngText(damaged)).rejects.toThrow(FileError);
    }
  });

  it("refuses a file that does not begin with IHDR", async () => {
    const chunks = readChunks(await encodePng(image), "test");
    await expect(readPngText(writeChunks(chunks.slice(1)), "a.png")).rejects.toThrow(
      "a.png: has no valid PNG chunk at",
    );
  });

  it("reads a view into a larger buffer, and ignores what follows IEND", async () => {
    const png = await encodePng(image, { key: "value" });
    const padded = new Uint8Array(png.length + 20).fill(7);
    padded.set(png, 5);
    expect(await readPngText(padded.subarray(5))).toEqual({ key: "value" });
  });
});
