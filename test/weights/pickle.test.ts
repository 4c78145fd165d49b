/** Pickles that torch and numpy wrote (test/weights/pickles.py), those that nobody should write, and what they become. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { deflateRawSync } from "node:zlib";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DdimError } from "../../src/runtime/errors.ts";
import { openCheckpoint, openSafetensors } from "../../src/weights/checkpoint.ts";
import { pickleSource } from "../../src/weights/pickle/source.ts";
import { failure, memorySource } from "./memory-source.ts";

type Digest = [dtype: string, shape: number[], sha256: string];
interface Expected {
  weights: Record<string, Digest>;
  ema?: Record<string, Digest>;
  left_out: string[];
}

const FOLDER = "test/weights/pickles";
const expected: Record<string, Expected> = JSON.parse(readFileSync(`${FOLDER}/expected.json`, "utf8"));
const fixture = (name: string) => new Uint8Array(readFileSync(`${FOLDER}/${name}`));

/** Type, shape and digest of all that a file holds. */
async function digests(bytes: Uint8Array, weights: "plain" | "ema" = "plain") {
  const source = await pickleSource(memorySource({ "x.pt": bytes }), "x.pt", { weights });
  const { tensors, metadata } = await openSafetensors(source, "x.pt");
  const found: Record<string, Digest> = {};
  for (const { name, dtype, shape, start, end } of tensors.values()) {
    expect(
      start %
        ((end - start) /
          Math.max(
            1,
            shape.reduce((a, b) => a * b, 1),
          ) || 1),
    ).toBe(0);
    const data = await source.read("x.pt", { start, end });
    found[name] = [dtype, [...shape], createHash("sha256").update(data).digest("hex").slice(0, 16)];
  }
  return { found, source, metadata };
}

describe("reads what torch.load reads", () => {
  test("every file has its numbers", () => {
    const files = readdirSync(FOLDER).filter((name) => name !== "expected.json");
    expect(files.sort()).toEqual(Object.keys(expected).sort());
    expect(files.length).toBeGreaterThan(20);
  });

  test.each(Object.entries(expected))("%s", async (name, { weights, ema, left_out }) => {
    const { found, source, metadata } = await digests(fixture(name));
    expect(found).toEqual(weights);
    expect(metadata.format).toBe("pt");
    for (const key of left_out) expect(source.leftOut.some((left) => left.split(" (")[0] === key)).toBe(true);
    if (ema) {
      const average = await digests(fixture(name), "ema");
      expect(average.found).toEqual(ema);
      expect(average.metadata.weights).toBe("ema");
    } else if (!name.startsWith("lightning"))
      expect(await failure(digests(fixture(name), "ema"), "UsageError")).toContain("has no EMA weights");
    // latent-diffusion's average has names of its own among the others.
    else expect((await digests(fixture(name), "ema")).found).toEqual(weights);
  });

  test("in pieces of any size", async () => {
    for (const name of ["zip.pt", "legacy.pt", "deflated.pt", "big-endian.pt", "numpy2.pt", "pickled.bin"]) {
      const source = await pickleSource(memorySource({ [name]: fixture(name) }), name);
      const whole = await source.read(name);
      expect(whole.byteLength).toBe(await source.size(name));
      const end = fc.nat({ max: whole.byteLength });
      await fc.assert(
        fc.asyncProperty(end, end, async (a, b) => {
          const range = { start: Math.min(a, b), end: Math.max(a, b) };
          expect(await source.read(name, range)).toEqual(whole.slice(range.start, range.end));
        }),
        { numRuns: 40 },
      );
    }
  });

  test("a checkpoint of a folder; the rest of the folder is as it was", async () => {
    const files = { "unet/diffusion_pytorch_model.bin": fixture("zip.pt"), "unet/x": new Uint8Array([7]) };
    const checkpoint = await openCheckpoint(memorySource(files), "unet");
    expect(checkpoint.file).toBe("model/unet/diffusion_pytorch_model.bin");
    expect(await checkpoint.read("u8")).toEqual(Float32Array.of(0, 1, 2, 3, 4));
    expect(await checkpoint.source.read("unet/x")).toEqual(new Uint8Array([7]));
  });

  test("shards with an index", async () => {
    const map = { a: "a.bin", b: "a.bin", w: "w.bin", t: "w.bin" };
    const source = memorySource({
      "diffusion_pytorch_model.bin.index.json": JSON.stringify({ weight_map: map }),
      "a.bin": fixture("protocol4.pth"),
      "w.bin": fixture("little.pt"),
    });
    const checkpoint = await openCheckpoint(source, "");
    expect([...checkpoint.tensors.keys()].sort()).toEqual(["a", "b", "t", "w"]);
    expect(await checkpoint.read("t")).toEqual(Float32Array.of(0, 3, 1, 4, 2, 5));
  });

  test("the values of a large tensor are not read before they are asked for", async () => {
    const source = memorySource({ "x.pt": storedZip({ "x/data.pkl": tensorPickle(2 ** 20), "x/data/0": 2 ** 22 }) });
    const opened = await pickleSource(source, "x.pt");
    const read = () => source.reads.reduce((sum, { bytes }) => sum + bytes, 0);
    expect(read()).toBeLessThan(300_000);
    await opened.read("x.pt", { start: 100_000, end: 101_000 });
    expect(read()).toBeLessThan(400_000);
  });
});

const bytesOf = (...parts: (string | number | Uint8Array | readonly number[])[]): Uint8Array => {
  const pieces = parts.map((part) => {
    if (typeof part === "string") return Uint8Array.from(part, (c) => c.charCodeAt(0));
    return typeof part === "number" ? Uint8Array.of(part) : Uint8Array.from(part);
  });
  return new Uint8Array(Buffer.concat(pieces));
};
const u32 = (n: number) => [n & 255, (n >>> 8) & 255, (n >>> 16) & 255, n >>> 24];
const text = (s: string) => bytesOf("X", u32(s.length), s);
const P2 = "\x80\x02";

/** A dict with one tensor `w` of as many floats. */
const tensorPickle = (count: number, { name = "0", offset = 0, strides = 1 } = {}) =>
  bytesOf(
    ...[P2, "}", text("w"), "ctorch._utils\n_rebuild_tensor_v2\n((", text("storage")],
    ...["ctorch\nFloatStorage\n", text(name), text("cpu"), "J", u32(count), "tQ", "J", u32(offset), "J", u32(count)],
    ...["\x85", "J", u32(strides), "\x85", "\x89", "ccollections\nOrderedDict\n)RtRs."],
  );

interface ZipPart {
  data: Uint8Array;
  size?: number;
  method?: number;
  flags?: number;
}

/** A zip archive; a number is as many zero bytes. */
function storedZip(parts: Record<string, Uint8Array | number | ZipPart>): Uint8Array {
  const u16 = (n: number) => u32(n).slice(0, 2);
  const files: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  for (const [name, part] of Object.entries(parts)) {
    const given = typeof part === "number" ? new Uint8Array(part) : part;
    const { data, method = 0, flags = 0, size = data.length } = given instanceof Uint8Array ? { data: given } : given;
    const shared = bytesOf(u16(flags), u16(method), u32(0), u32(0), u32(data.length), u32(size), u16(name.length));
    const file = bytesOf("PK\x03\x04", u16(20), shared, u16(0), name, data);
    directory.push(bytesOf("PK\x01\x02", u16(20), u16(20), shared, u16(0), u16(0), u32(0), u32(0), u32(at), name));
    files.push(file);
    at += file.length;
  }
  const list = bytesOf(...directory);
  const end = bytesOf(
    "PK\x05\x06",
    u32(0),
    u16(directory.length),
    u16(directory.length),
    u32(list.length),
    u32(at),
    u16(0),
  );
  return bytesOf(...files, list, end);
}

const repeat = (part: string, times: number) => bytesOf(part.repeat(times));
const inZip = (pickle: Uint8Array) => storedZip({ "x/data.pkl": pickle });

/** What should be refused, and a word of why. */
const HOSTILE: Record<string, [Uint8Array, RegExp]> = {
  "a list in itself": [bytesOf(P2, "]q\x00h\x00a."), /holds itself/],
  "a dict in itself": [bytesOf(P2, "}q\x00", text("a"), "h\x00s."), /holds itself/],
  "a circle through a tuple": [bytesOf(P2, "]q\x00h\x00\x85a."), /holds itself/],
  "deep lists": [bytesOf(P2, repeat("]", 5000), repeat("a", 4999), "."), /1000 levels/],
  "deep tuples": [bytesOf(P2, ")", repeat("\x85", 100_000), "."), /1000 levels/],
  "memo growth": [bytesOf(P2, "N", repeat("\x94", 2_000_000), "."), /more objects/],
  "memo of large indices": [bytesOf(P2, "Nr\xff\xff\xff\xff", "r\xfe\xff\xff\xff", "."), /no tensors/],
  "many dicts": [bytesOf(P2, repeat("}", 2_000_000), "."), /more objects/],
  "many marks": [bytesOf(P2, repeat("(", 2_000_000), "."), /more objects/],
  "a long stack": [bytesOf(P2, repeat("N", 2_000_000), "."), /more objects/],
  "a long list": [bytesOf(P2, "](", repeat(`${"N".repeat(99_999)}e(`, 35), "e."), /more/],
  "much work": [bytesOf(P2, repeat("N0", 4_000_000), "."), /more work/],
  "lists copied again and again": [
    bytesOf(P2, "](", repeat("N", 400_000), "eq\x00cbuiltins\nset\nq\x01", repeat("h\x01h\x00\x85R0", 100_000), "."),
    /more objects/,
  ],
  "bytes copied again and again": [
    bytesOf(
      P2,
      text("x".repeat(60_000)),
      "q\x00c_codecs\nencode\nq\x01",
      text("latin1"),
      "q\x02",
      repeat("h\x01h\x00h\x02\x86R0", 100_000),
      ".",
    ),
    /more objects/,
  ],
  "a huge integer": [bytesOf(P2, "\x8b", u32(0x7fffffff), "."), /integer of 2147483647 bytes/],
  "a long integer": [bytesOf(P2, "\x8b", u32(100_000), new Uint8Array(100_000), "."), /integer of 100000 bytes/],
  "a huge decimal": [bytesOf("\x80\x02L", repeat("9", 60_000), "L\n."), /a number is none/],
  "a line without end": [bytesOf(P2, "I", repeat("1", 200_000)), /line has no end/],
  "a text longer than the file": [bytesOf(P2, "X", u32(0x7fffffff), "abc"), /longer than the file/],
  "bytes longer than the file": [bytesOf(P2, "\x8e", u32(0xffffffff), u32(0xffff), "abc"), /longer than the file/],
  "a mark that was never set": [bytesOf(P2, "t."), /was not begun/],
  "an empty stack": [bytesOf(P2, "."), /was not given/],
  "a name that was never given": [bytesOf(P2, "h\x05."), /not named/],
  "a call of a number": [bytesOf(P2, "K\x01)R."), /no function/],
  "a code of the registry": [bytesOf(P2, "\x82\x01."), /0x82 is no opcode/],
  "an end too early": [bytesOf(P2, "}"), /cut off/],
  "a tensor beyond its storage": [
    storedZip({ "x/data.pkl": tensorPickle(4, { offset: 1 }), "x/data/0": 16 }),
    /tensor "w" needs 20 bytes of a storage that has 16/,
  ],
  "strides beyond the storage": [
    storedZip({ "x/data.pkl": tensorPickle(4, { strides: 1_000_000 }), "x/data/0": 16 }),
    /needs 12000004 bytes/,
  ],
  "a storage beyond its part": [
    storedZip({ "x/data.pkl": tensorPickle(400), "x/data/0": 16 }),
    /has 16 bytes, not 1600/,
  ],
  "a storage that is nowhere": [
    storedZip({ "x/data.pkl": tensorPickle(4, { name: "9" }), "x/data/0": 16 }),
    /has 0 bytes/,
  ],
  "a part out of the folder": [
    storedZip({ "x/data.pkl": tensorPickle(4, { name: "../0" }), "x/0": 16 }),
    /has 0 bytes/,
  ],
  "a negative size": [storedZip({ "x/data.pkl": tensorPickle(-4), "x/data/0": 16 }), /no length/],
  "a zip bomb": [
    storedZip({ "x/data.pkl": { data: deflateRawSync(new Uint8Array(40_000_000)), size: 40_000_000, method: 8 } }),
    /would inflate to 40000000 bytes/,
  ],
  "a part that inflates to more than it says": [
    storedZip({ "x/data.pkl": { data: deflateRawSync(tensorPickle(4)), size: 20, method: 8 }, "x/data/0": 16 }),
    /cut off|longer than the file/,
  ],
  "a part that inflates to less": [
    storedZip({ "x/data.pkl": { data: deflateRawSync(bytesOf(P2)), size: 2000, method: 8 } }),
    /inflates to less/,
  ],
  "a part that does not inflate": [
    storedZip({ "x/data.pkl": { data: new Uint8Array(50).fill(255), size: 2000, method: 8 } }),
    /cannot be inflated/,
  ],
  "an encrypted part": [storedZip({ "x/data.pkl": { data: bytesOf(P2, "}."), flags: 1 } }), /encrypted/],
  "another method": [storedZip({ "x/data.pkl": { data: bytesOf(P2, "}."), method: 12 } }), /method 12/],
  "an archive without a checkpoint": [storedZip({ "x/readme": bytesOf("hello") }), /no data.pkl/],
  "a TorchScript program": [storedZip({ "x/data.pkl": bytesOf(P2, "}."), "x/constants.pkl": 1 }), /TorchScript/],
  "a cut archive": [fixture("zip.pt").slice(0, -30), /cut off/],
  "a cut legacy file": [fixture("legacy.pt").slice(0, -30), /cut off/],
  "PyTorch's tar format": [bytesOf(new Uint8Array(257), "ustar  ", new Uint8Array(600)), /tar format/],
  "a safetensors file": [bytesOf(u32(2), u32(0), "{}"), /safetensors/],
  "a web page": [bytesOf("<!doctype html><html>"), /not a PyTorch checkpoint/],
  nothing: [new Uint8Array(0), /not a PyTorch checkpoint/],
  "a Git LFS pointer": [bytesOf("version https://git-lfs.github.com/spec/v1\n"), /Git LFS/],
  "Paddle's weights": [bytesOf(P2, "}", text("StructuredToParameterName@@"), "}s."), /Paddle/],
  "a whole module": [bytesOf(P2, "cmy.models\nUNet\n)\x81}b."), /class my\.models\.UNet; save the module's state_dict/],
  "an optimizer": [bytesOf(P2, "}", text("state"), "}s."), /no tensors by name/],
};

describe("refuses the rest", () => {
  test.each(Object.entries(HOSTILE))("%s", async (name, [bytes, message]) => {
    const alone = bytes[0] === 0x80 && !name.includes("legacy");
    for (const file of alone ? [bytes, inZip(bytes)] : [bytes]) {
      const began = performance.now();
      const open = pickleSource(memorySource({ "x.pt": file }), "x.pt");
      expect(await failure(open)).toMatch(message);
      expect(performance.now() - began).toBeLessThan(4000);
    }
  });

  test("what would have been called is not, and keys, calls and attributes of foreign classes pass", async () => {
    const evil = bytesOf(
      ...[P2, "}", text("x"), "cos\nsystem\n", text("touch /tmp/owned"), "\x85R", "}", text("a"), "K\x01sb", "s"],
      ...["cos\nsystem\n", "cos\nsystem\n(K\x01tR", "s", "cos\nsystem\n", "N", "s"],
      ...[
        "(ios\nsystem\nN",
        "s",
        "(cos\nsystem\nK\x01oN",
        "s",
        text("l"),
        "cos\nlist\n)R(K\x01ee".replace("ee", "e"),
        "s",
        ".",
      ],
    );
    expect(await failure(pickleSource(memorySource({ "x.pt": evil }), "x.pt"))).toContain("no tensors by name");
  });

  test("a big-endian machine's legacy file", async () => {
    const file = Buffer.from(fixture("legacy.pt"));
    const key = file.indexOf("little_endian");
    const marker = file.indexOf(0x88, key);
    file[marker] = 0x89;
    expect(await failure(digests(new Uint8Array(file)))).toContain("big-endian machine");
  });

  test("any damage gives an error of ours, or a result", async () => {
    const names = [
      "zip.pt",
      "legacy.pt",
      "lightning.ckpt",
      "numpy2.pt",
      "odd5.pt",
      "deflated.pt",
      "pickled.bin",
      "numpy1.bin",
    ];
    const change = fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), to: fc.nat({ max: 255 }) });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...names),
        fc.array(change, { minLength: 1, maxLength: 6 }),
        async (name, changes) => {
          const file = fixture(name).slice();
          for (const { at, to } of changes) file[Math.floor(at * (file.length - 1))] = to;
          await digests(file).catch((error) => expect(error).toBeInstanceOf(DdimError));
        },
      ),
      { numRuns: 500 },
    );
  });
});
