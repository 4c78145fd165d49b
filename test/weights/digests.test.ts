/** Digests of tensors: of their bytes alone, however they are stored and read. */
import { createHash } from "node:crypto";
import fc from "fast-check";
import { afterEach, describe, expect, test, vi } from "vitest";
import { openCheckpoint } from "../../src/weights/checkpoint.ts";
import { failure, memorySource, rawSafetensors } from "./memory-source.ts";

const MiB = 2 ** 20;
const sha256 = (...parts: Uint8Array[]) => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** As `digests.ts` describes it. */
function reference(bytes: Uint8Array): string {
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.byteLength; at += MiB) chunks.push(sha256(bytes.subarray(at, at + MiB)));
  return (chunks.length > 1 ? sha256(...chunks) : (chunks[0] ?? sha256())).toString("hex");
}

const FILE = "model.safetensors";

/** A model's file of byte tensors in the given order. */
function file(tensors: readonly (readonly [string, Uint8Array])[]): Uint8Array {
  const header: Record<string, unknown> = {};
  const data = new Uint8Array(tensors.reduce((sum, [, bytes]) => sum + bytes.length, 0));
  let end = 0;
  for (const [name, bytes] of tensors) {
    data.set(bytes, end);
    header[name] = { dtype: "U8", shape: [bytes.length], data_offsets: [end, end + bytes.length] };
    end += bytes.length;
  }
  return rawSafetensors(header, data);
}

const random = (length: number, seed: number) => {
  let state = seed;
  return Uint8Array.from({ length }, () => {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 1;
    return state >>> 24;
  });
};

/** Lengths about a chunk's, in which pieces begin and end in every way. */
const lengths = [0, 1, 5, MiB - 1, MiB, MiB + 1, 2 * MiB, 2 * MiB + 77, 300];
const tensors = lengths.map((length, i) => [`t${i}`, random(length, i + 1)] as const);
const expected = Object.fromEntries(tensors.map(([name, bytes]) => [name, reference(bytes)]));

afterEach(() => {
  vi.unstubAllGlobals();
});

describe("digests", () => {
  test("are the same for every size of reads and order in the file, while buffers are used again", async () => {
    const cases = fc.tuple(
      fc.constantFrom(8, 24, 4096, MiB - 8, MiB, MiB + 8, 3 * MiB, 8 * MiB),
      fc.shuffledSubarray([...tensors], { minLength: tensors.length }),
      fc.subarray(Object.keys(expected)),
    );
    await fc.assert(
      fc.asyncProperty(cases, async ([chunkBytes, order, first]) => {
        const size = Math.max(chunkBytes, 65536);
        const checkpoint = await openCheckpoint(memorySource({ [FILE]: file(order) }), "");
        for await (const { bytes } of checkpoint.pieces(first, { chunkBytes: size })) bytes.fill(7);
        expect(await checkpoint.digests(Object.keys(expected), { chunkBytes: size })).toEqual(expected);
      }),
      { numRuns: 12 },
    );
  });

  test("are the same in shards", async () => {
    const [a, b] = [tensors.slice(0, 4), tensors.slice(4)];
    const index = { weight_map: Object.fromEntries(tensors.map(([name], i) => [name, i < 4 ? "1" : "2"])) };
    const source = memorySource({ "1": file(a), "2": file(b), [`${FILE}.index.json`]: JSON.stringify(index) });
    expect(await (await openCheckpoint(source, "")).digests(Object.keys(expected))).toEqual(expected);
  });

  test("read what was not read, and nothing twice", async () => {
    const source = memorySource({ [FILE]: file(tensors) });
    const checkpoint = await openCheckpoint(source, "");
    const bytesRead = () => source.reads.reduce((sum, { bytes }) => sum + bytes, 0);
    for await (const _ of checkpoint.pieces(["t1", "t5"]));
    let before = bytesRead();
    expect(await checkpoint.digests(["t5", "t1"])).toEqual({ t1: expected.t1, t5: expected.t5 });
    expect(bytesRead()).toBe(before);
    await checkpoint.digests(["t1", "t6"]);
    expect(bytesRead() - before).toBe(2 * MiB);
    checkpoint.recall({ t3: "remembered", t1: "not taken: it was read" });
    before = bytesRead();
    expect(await checkpoint.digests(["t1", "t3"])).toEqual({ t1: expected.t1, t3: "remembered" });
    expect(bytesRead()).toBe(before);
  });

  test("a walk that ends early leaves nothing half hashed", async () => {
    const checkpoint = await openCheckpoint(memorySource({ [FILE]: file(tensors) }), "");
    for await (const { name, offset } of checkpoint.pieces(["t7", "t8"], { chunkBytes: MiB / 2 }))
      if (name === "t7" && offset > MiB) break;
    expect(await checkpoint.digests(["t7", "t8"])).toEqual({ t7: expected.t7, t8: expected.t8 });
  });

  test("a page without Web Cryptography loads, and says why it cannot tell one model from another", async () => {
    vi.stubGlobal("crypto", {});
    const checkpoint = await openCheckpoint(memorySource({ [FILE]: file(tensors) }), "");
    expect((await checkpoint.readBytes("t2")).length).toBe(5);
    for await (const _ of checkpoint.pieces(["t2"]));
    expect(await failure(checkpoint.digests(["t2"]))).toBe(
      `model/${FILE}: cannot be identified: only pages of https or localhost can hash`,
    );
  });
});
