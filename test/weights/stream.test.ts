import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, describe, expect, test } from "vitest";
import { openSafetensorsFile } from "../../src/node/folder.ts";
import { type Checkpoint, openSafetensors } from "../../src/weights/checkpoint.ts";
import type { LoadProgress } from "../../src/weights/stream.ts";
import { failure, memorySource, rawSafetensors } from "./memory-source.ts";

/** A file of byte tensors whose bytes count up through the whole of the data. */
function byteTensors(lengths: Record<string, number>) {
  const header: Record<string, unknown> = {};
  let end = 0;
  for (const [name, length] of Object.entries(lengths)) {
    header[name] = { dtype: "U8", shape: [length], data_offsets: [end, end + length] };
    end += length;
  }
  return memorySource({
    f: rawSafetensors(
      header,
      Uint8Array.from({ length: end }, (_, i) => i),
    ),
  });
}

async function collect(checkpoint: Checkpoint, names: Iterable<string>, chunkBytes: number) {
  const pieces: [string, number, number[]][] = [];
  for await (const { name, offset, bytes } of checkpoint.pieces(names, { chunkBytes }))
    pieces.push([name, offset, [...bytes]]);
  return pieces;
}

describe("pieces", () => {
  const lengths = { a: 3, b: 5, none: 0, big: 20, c: 2, d: 8 };
  const upTo = (start: number, end: number) => Array.from({ length: end - start }, (_, i) => start + i);

  test("neighbours share a read, a large tensor comes in parts, in the order of the file", async () => {
    const source = byteTensors(lengths);
    const checkpoint = await openSafetensors(source, "f");
    source.reads.length = 0;
    expect(await collect(checkpoint, ["d", "big", "none", "c", "b", "a"], 8)).toEqual([
      ["a", 0, upTo(0, 3)],
      ["b", 0, upTo(3, 8)],
      ["none", 0, []],
      ["big", 0, upTo(8, 16)],
      ["big", 8, upTo(16, 24)],
      ["big", 16, upTo(24, 28)],
      ["c", 0, upTo(28, 30)],
      ["d", 0, upTo(30, 38)],
    ]);
    expect(source.reads.map((read) => read.bytes)).toEqual([8, 8, 8, 6, 8]);
  });

  test("what is not asked for is not read", async () => {
    const source = byteTensors(lengths);
    const checkpoint = await openSafetensors(source, "f");
    source.reads.length = 0;
    expect(await collect(checkpoint, ["c", "a"], 1024)).toEqual([
      ["a", 0, upTo(0, 3)],
      ["c", 0, upTo(28, 30)],
    ]);
    expect(source.reads.map((read) => read.bytes)).toEqual([3, 2]);
    expect(await collect(checkpoint, [], 1024)).toEqual([]);
  });

  test("progress counts the bytes of the tensors asked for, whose sum is known from the first", async () => {
    const checkpoint = await openSafetensors(byteTensors(lengths), "f");
    expect(checkpoint.totalBytes).toBe(38);
    const events: LoadProgress[] = [];
    const options = { chunkBytes: 8, onProgress: (event: LoadProgress) => events.push(event) };
    for await (const _ of checkpoint.pieces(["a", "b", "big", "d"], options));
    expect(events).toEqual([8, 16, 24, 28, 36].map((loaded) => ({ file: "model/f", loaded, total: 36 })));
  });

  test("aborting stops before the next read", async () => {
    const source = byteTensors(lengths);
    const checkpoint = await openSafetensors(source, "f");
    source.reads.length = 0;
    const controller = new AbortController();
    const walk = async () => {
      for await (const piece of checkpoint.pieces(["big"], { chunkBytes: 8, signal: controller.signal }))
        if (piece.offset === 8) controller.abort();
    };
    expect(await failure(walk(), "AbortError")).toMatch(/abort/i);
    expect(source.reads.length).toBe(2);
  });

  test("an unknown name and a type without a conversion are refused before anything is read", async () => {
    const header = {
      a: { dtype: "F32", shape: [1], data_offsets: [0, 4] },
      eight: { dtype: "F8_E4M3", shape: [1], data_offsets: [4, 5] },
    };
    const source = memorySource({ f: rawSafetensors(header, 5) });
    const checkpoint = await openSafetensors(source, "f");
    source.reads.length = 0;
    expect(await failure(collect(checkpoint, ["a", "b"], 8))).toBe('model/f: has no tensor "b"');
    expect(await failure(checkpoint.read("eight"))).toBe('model/f: tensor "eight" is F8_E4M3, not floats');
    expect(source.reads).toEqual([]);
    expect(await checkpoint.readBytes("eight")).toEqual(Uint8Array.of(0));
  });
});

describe("floats", () => {
  test("pieces of any type fit together, also where a type is not aligned in the file", async () => {
    const values = Float32Array.from({ length: 100 }, (_, i) => i - 50);
    const half = Uint16Array.from(values, (v) => new Uint32Array(Float32Array.of(v).buffer)[0]! >>> 16);
    const double = Float64Array.from(values);
    const parts = [Uint8Array.of(1), values, half, double].map((v) => new Uint8Array(v.buffer, 0, v.byteLength));
    const data = Uint8Array.from(parts.flatMap((part) => [...part]));
    const header = {
      odd: { dtype: "U8", shape: [1], data_offsets: [0, 1] },
      f32: { dtype: "F32", shape: [10, 10], data_offsets: [1, 401] },
      bf16: { dtype: "BF16", shape: [100], data_offsets: [401, 601] },
      f64: { dtype: "F64", shape: [100], data_offsets: [601, 1401] },
    };
    const checkpoint = await openSafetensors(memorySource({ f: rawSafetensors(header, data) }), "f");
    for (const chunkBytes of [8, 64, 512, 4096]) {
      const whole: Record<string, Float32Array> = {};
      for await (const piece of checkpoint.floats(["odd", "f32", "bf16", "f64"], { chunkBytes })) {
        whole[piece.name] ??= new Float32Array(piece.tensor.shape.reduce((a, b) => a * b, 1));
        whole[piece.name]!.set(piece.values, piece.offset);
      }
      expect(whole).toEqual({ odd: Float32Array.of(1), f32: values, bf16: values, f64: values });
    }
    expect(await checkpoint.read("f64")).toEqual(values);
  });
});

describe("memory", () => {
  const folder = mkdtempSync(join(tmpdir(), "ddim-stream-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  test("walking over 400 MB takes a few MiB of JavaScript memory", { timeout: 120_000 }, async () => {
    const MiB = 2 ** 20;
    const header: Record<string, unknown> = {};
    let end = 0;
    const add = (name: string, dtype: string, shape: number[], bytes: number) => {
      header[name] = { dtype, shape, data_offsets: [end, end + bytes] };
      end += bytes;
    };
    add("large.f32", "F32", [100, 256, 1024], 100 * MiB);
    add("large.f16", "F16", [100, 512, 1024], 100 * MiB);
    for (let i = 0; i < 200; i++) add(`small.${i}`, i % 2 ? "F32" : "BF16", i % 2 ? [262144] : [524288], MiB);
    const path = join(folder, "big.safetensors");
    const start = rawSafetensors(header);
    writeFileSync(path, start);
    // The rest is a hole in the file: zeros that take no disk.
    truncateSync(path, start.length + end);

    setFlagsFromString("--expose-gc");
    const collectGarbage = runInNewContext("gc") as () => void;
    const used = () => {
      const { heapUsed, arrayBuffers } = process.memoryUsage();
      return heapUsed + arrayBuffers;
    };
    collectGarbage();
    const before = used();
    let peak = 0;
    let elements = 0;
    const checkpoint = await openSafetensorsFile(path);
    for await (const { values } of checkpoint.floats(checkpoint.tensors.keys())) {
      elements += values.length;
      peak = Math.max(peak, used() - before);
    }
    expect(elements).toBe((100 * MiB) / 4 + (100 * MiB) / 2 + 100 * (262144 + 524288));
    // The promise is the largest tensor plus 64 MiB; the buffers are 8 MiB of bytes and 16 MiB of converted values.
    expect(peak).toBeGreaterThan(20 * MiB);
    expect(peak).toBeLessThan(64 * MiB);
  });
});
