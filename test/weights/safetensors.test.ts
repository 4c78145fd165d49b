import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FileError } from "../../src/runtime/errors.ts";
import { DTYPE_BITS, type Dtype } from "../../src/weights/dtype.ts";
import { readHeader } from "../../src/weights/safetensors.ts";
import { failure, memorySource, rawSafetensors } from "./memory-source.ts";

const open = (bytes: Uint8Array) => readHeader(memorySource({ "w.safetensors": bytes }), "w.safetensors");
const refuse = async (...file: Parameters<typeof rawSafetensors>) => failure(open(rawSafetensors(...file)));
const entry = (dtype: string, shape: unknown, begin: unknown, end: unknown) => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

describe("a well-formed file", () => {
  test("lists its tensors in the order of the data, with absolute places", async () => {
    const header = {
      __metadata__: { format: "pt" },
      second: entry("F16", [2, 3], 8, 20),
      first: entry("I64", [], 0, 8),
      empty: entry("F32", [0, 7], 8, 8),
    };
    const file = rawSafetensors(header, 20);
    const start = file.length - 20;
    const { tensors, metadata } = await open(file);
    expect(metadata).toEqual({ format: "pt" });
    expect([...tensors.values()]).toEqual([
      { name: "first", dtype: "I64", shape: [], file: "w.safetensors", start, end: start + 8 },
      { name: "empty", dtype: "F32", shape: [0, 7], file: "w.safetensors", start: start + 8, end: start + 8 },
      { name: "second", dtype: "F16", shape: [2, 3], file: "w.safetensors", start: start + 8, end: start + 20 },
    ]);
  });

  test("every type of the format is listed", async () => {
    for (const [dtype, bits] of Object.entries(DTYPE_BITS) as [Dtype, number][]) {
      const { tensors } = await open(rawSafetensors({ t: entry(dtype, [8, 3], 0, bits * 3) }, bits * 3));
      expect(tensors.get("t")).toMatchObject({ dtype, shape: [8, 3] });
    }
  });

  test.each(["{}", "{}      ", '{"__metadata__":null}', '{"__metadata__":{"a":"b"}}'])(
    "%j has no tensors",
    async (json) => {
      expect((await open(rawSafetensors(json))).tensors.size).toBe(0);
    },
  );

  test("names are taken as they are", async () => {
    const names = ["__proto__", "constructor", "taps/a.b", "ä€𝄞", "", " "];
    const json = names.map((name, i) => `${JSON.stringify(name)}:${JSON.stringify(entry("U8", [1], i, i + 1))}`);
    const { tensors } = await open(rawSafetensors(`{${json.join(",")}}`, names.length));
    expect([...tensors.keys()]).toEqual(names);
  });

  test("white space may stand before the JSON, as for the reference implementation", async () => {
    const json = JSON.stringify({ a: entry("U8", [2], 0, 2) });
    for (const space of [" ", "\n\t\r ", " ".repeat(1000), "\n".repeat(200_000)]) {
      const { tensors } = await open(rawSafetensors(space + json, 2));
      expect(tensors.get("a")).toMatchObject({ dtype: "U8", shape: [2], start: 8 + space.length + json.length });
    }
  });

  test("a header larger than the first read is read to its end", async () => {
    const count = 4000;
    const names = Array.from({ length: count }, (_, i) => `some.rather.long.name.of.a.tensor.${i}`);
    const file = rawSafetensors(
      Object.fromEntries(names.map((name, i) => [name, entry("F32", [1], 4 * i, 4 * i + 4)])),
      4 * count,
    );
    const source = memorySource({ "w.safetensors": file });
    expect([...(await readHeader(source, "w.safetensors")).tensors.keys()]).toEqual(names);
    expect(source.reads.length).toBe(2);
    expect(source.reads.reduce((sum, read) => sum + read.bytes, 0)).toBe(file.length - 4 * count);
  });
});

describe("limits", () => {
  const header = (count: number, entryOf: (i: number) => string) =>
    `{${Array.from({ length: count }, (_, i) => `"${i}":${entryOf(i)}`).join(",")}}`;
  const nothing = JSON.stringify(entry("U8", [0], 0, 0));

  test("a header of 25 MiB at most", async () => {
    const most = 25 * 2 ** 20;
    const opened = await open(rawSafetensors(`{"__metadata__":{"a":"${"x".repeat(most - 27)}"}}  `));
    expect(opened.metadata.a?.length).toBe(most - 27);
    expect(await refuse("{}", 0, most + 1)).toContain(
      `its header would be ${most + 1} bytes long, over the limit of 25 MiB`,
    );
  });

  test("100 000 tensors at most, beside metadata", async () => {
    const most = 100_000;
    const metadata = (text: string) => `{"__metadata__":{},${text.slice(1)}`;
    expect((await open(rawSafetensors(metadata(header(most, () => nothing))))).tensors.size).toBe(most);
    expect(await refuse(header(most + 1, () => nothing))).toContain("holds more than 100000 tensors");
    expect(await refuse(header(most + 2, () => nothing))).toContain("has more than 100001 entries");
    const texts = Array.from({ length: most + 2 }, (_, i) => `"k${i}":""`).join(",");
    expect(await refuse(`{"__metadata__":{${texts}}}`)).toContain("has more than 100001 entries");
  });

  test("two million values at most", async () => {
    expect(await refuse(`{"a":[${"0,".repeat(2e6)}0]}`)).toContain("holds more than 2000000 values");
  });

  test("overlaps are found in the time that a good header of the size takes", async () => {
    const good = rawSafetensors(
      header(50_000, (i) => JSON.stringify(entry("U8", [2], 2 * i, 2 * i + 2))),
      100_000,
    );
    const bad = rawSafetensors(
      header(50_000, (i) => JSON.stringify(entry("U8", [2], i, i + 2))),
      50_001,
    );
    const timed = async (file: Uint8Array) => {
      const before = process.cpuUsage();
      const message = await open(file).then(
        () => "",
        (error: Error) => error.message,
      );
      const { user, system } = process.cpuUsage(before);
      return { message, time: user + system };
    };
    const [first, second] = [await timed(good), await timed(bad)];
    expect(first.message).toBe("");
    expect(second.message).toContain('tensor "1" overlaps tensor "0"');
    expect(second.time).toBeLessThan(10 * first.time + 1e5);
  });
});

describe("a file that is not well-formed", () => {
  test("cut off, or something else", async () => {
    expect(await failure(open(new Uint8Array(7)))).toBe(
      "model/w.safetensors: is not a safetensors file: it has only 7 bytes",
    );
    expect(await refuse("{}", 0, 100_000_001)).toContain("its header would be 100000001 bytes long");
    expect(await refuse("{}", 0, 2n ** 63n)).toContain("its header would be 9223372036854776000 bytes long");
    expect(await refuse("{}", 0, 3)).toBe(
      "model/w.safetensors: is cut off: its header is 3 bytes long, the file only 10 bytes",
    );
    expect(await refuse(" ")).toContain("its header is not JSON");
    expect(await refuse(" []")).toContain("its header is not JSON");
    expect(await refuse("\u000b{}")).toContain("its header is not JSON");
    expect(await refuse("[]")).toContain("its header is not JSON");
    expect(await refuse("")).toContain("its header is not JSON");
    expect(await refuse("{}\n\0")).toContain("is not valid JSON (line 2, column 1: expected nothing more)");
    expect(await refuse({ a: entry("F32", [4], 0, 16) }, 15)).toMatch(
      /is cut off: tensor "a" ends at byte \d+, the file at \d+/,
    );
    expect(await refuse({ a: entry("F32", [4], 0, 16) }, 17)).toContain("has 1 bytes after the last tensor");
    const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    expect(await failure(open(new TextEncoder().encode(pointer)))).toContain("is a Git LFS pointer");
  });

  test("text that is not UTF-8", async () => {
    const file = rawSafetensors('{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}');
    file[10] = 0xff;
    expect(await failure(open(file))).toBe("model/w.safetensors: is not UTF-8 text");
  });

  test("the same key twice", async () => {
    const one = JSON.stringify(entry("U8", [1], 0, 1));
    expect(await refuse(`{"a":${one},"a":${one}}`, 1)).toContain('the key "a" appears twice');
    expect(await refuse('{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}')).toContain(
      'the key "dtype" appears twice',
    );
  });

  test.each([
    ["no description", { a: ["U8", [1], [0, 1]] }, 'tensor "a" has no description'],
    ["no dtype", { a: { shape: [1], data_offsets: [0, 1] } }, 'tensor "a" has dtype undefined'],
    ["unknown dtype", { a: entry("Q4", [1], 0, 1) }, 'tensor "a" has dtype "Q4", which the format does not define'],
    ["an inherited name as dtype", { a: entry("toString", [1], 0, 1) }, 'dtype "toString"'],
    ["no shape", { a: { dtype: "U8", data_offsets: [0, 1] } }, 'tensor "a" has shape undefined'],
    ["negative dimension", { a: entry("U8", [-1], 0, 1) }, 'tensor "a" has shape ["-1"]'],
    ["unsafe dimension", { a: entry("U8", [2 ** 53], 0, 1) }, 'tensor "a" has shape [9007199254740992]'],
    ["dimension as text", { a: entry("U8", ["1"], 0, 1) }, 'tensor "a" has shape ["1"]'],
    ["one offset", { a: { dtype: "U8", shape: [1], data_offsets: [0] } }, 'tensor "a" has data_offsets [0]'],
    [
      "three offsets",
      { a: { dtype: "U8", shape: [1], data_offsets: [0, 1, 1] } },
      'tensor "a" has data_offsets [0,1,1]',
    ],
    ["end before begin", { a: entry("U8", [1], 1, 0) }, 'tensor "a" has data_offsets [1,0]'],
    ["fractional offset", { a: entry("U8", [1], 0, 1.5) }, 'tensor "a" has data_offsets [0,"1.5"]'],
    [
      "too large",
      { a: entry("U8", [2 ** 40, 2 ** 40, 0], 0, 0) },
      'tensor "a" has shape [1099511627776, 1099511627776, 0], which is too large',
    ],
    [
      "shape and span differ",
      { a: entry("F32", [2], 0, 4) },
      'tensor "a" of F32 [2] takes 8 bytes, but its data_offsets span 4',
    ],
    ["half a byte", { a: entry("F6_E2M3", [2], 0, 1) }, 'tensor "a" of F6_E2M3 [2] takes 1.5 bytes'],
    ["hole before", { a: entry("U8", [1], 1, 2) }, 'tensor "a" leaves a hole after the header'],
    [
      "hole between",
      { a: entry("U8", [1], 0, 1), b: entry("U8", [1], 2, 3) },
      'tensor "b" leaves a hole after tensor "a"',
    ],
    ["overlap", { a: entry("U8", [2], 0, 2), b: entry("U8", [2], 1, 3) }, 'tensor "b" overlaps tensor "a"'],
    ["the same place", { a: entry("U8", [1], 0, 1), b: entry("U8", [1], 0, 1) }, "overlaps"],
    ["metadata that is no object", { __metadata__: [] }, "__metadata__ is not an object"],
    ["metadata that is no text", { __metadata__: { a: 1 } }, '__metadata__ has a value that is not text: "a"'],
  ])("%s", async (_, header, problem) => {
    const message = await refuse(header, 4);
    expect(message).toContain("model/w.safetensors: ");
    expect(message).toContain(problem);
  });

  test("an integer must be written as one", async () => {
    const text = (shape: string) => `{"a":{"dtype":"U8","shape":[${shape}],"data_offsets":[0,1]}}`;
    expect((await open(rawSafetensors(text("1"), 1))).tensors.get("a")?.shape).toEqual([1]);
    for (const one of ["1.0", "1e0", "10e-1"]) expect(await refuse(text(one), 1)).toContain('tensor "a" has shape');
  });

  test("it is the file, not the path, that is looked for", async () => {
    expect(await failure(readHeader(memorySource({}), "gone.safetensors"))).toBe(
      "model/gone.safetensors: there is no such file",
    );
    expect(await failure(readHeader(memorySource({}), "../w.safetensors"))).toContain("does not stay inside");
  });
});

describe("damage", () => {
  const golden = new Uint8Array(
    readFileSync(new URL("../golden/models/noattn_relu/unet/diffusion_pytorch_model.safetensors", import.meta.url)),
  );
  const small = rawSafetensors(
    { __metadata__: { format: "pt" }, w: entry("F32", [2, 2], 0, 16), b: entry("I64", [1], 16, 24) },
    24,
  );

  /** Reads the same, or a FileError that names the file; never anything else. */
  async function survives(damaged: Uint8Array, whole: Uint8Array): Promise<void> {
    const expected = await open(whole);
    const dataStart = Math.min(...[...expected.tensors.values()].map((tensor) => tensor.start));
    try {
      const header = await open(damaged);
      // Damage that still reads is damage to text that means nothing else: then all the bytes are still accounted for.
      let end = dataStart;
      for (const tensor of header.tensors.values()) {
        expect(tensor.start).toBe(end);
        end = tensor.end;
      }
      expect(end).toBe(damaged.length);
      const sameHeader = damaged.subarray(0, dataStart).every((byte, i) => byte === whole[i]);
      if (sameHeader) expect(header).toEqual(expected);
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      expect(error.message).toMatch(/^model\/w\.safetensors: /);
    }
  }

  test("truncation anywhere is refused", async () => {
    for (let length = 0; length < small.length; length++)
      expect(await failure(open(small.subarray(0, length)))).toMatch(/^model\/w\.safetensors: /);
    await fc.assert(
      fc.asyncProperty(fc.nat(golden.length - 1), async (length) => {
        await failure(open(golden.subarray(0, length)));
      }),
      { numRuns: 50 },
    );
  });

  test("any single byte of a small file, changed to any of a few values", async () => {
    for (let at = 0; at < small.length; at++)
      for (const value of [0, 0x20, 0x22, 0x2d, 0x2e, 0x30, 0x31, 0x39, 0x5c, 0x7b, 0x7d, 0x80, 0xff]) {
        const damaged = small.slice();
        damaged[at] = value;
        await survives(damaged, small);
      }
  });

  test("random changes, deletions and insertions", async () => {
    const change = fc.tuple(fc.nat(12_000), fc.nat(255), fc.constantFrom("set", "delete", "insert"));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), fc.boolean(), async (changes, large) => {
        const whole = large ? golden : small;
        const damaged = [...whole];
        for (const [place, value, kind] of changes) {
          const at = place % (damaged.length + 1);
          if (kind === "set") damaged[at % damaged.length] = value;
          else damaged.splice(at, kind === "delete" ? 1 : 0, ...(kind === "delete" ? [] : [value]));
        }
        await survives(Uint8Array.from(damaged), whole);
      }),
      { numRuns: 300 },
    );
  });
});
