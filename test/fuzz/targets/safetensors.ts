/** Files of tensors, single and in shards with their index. */
import fc from "fast-check";
import { type Checkpoint, openCheckpoint, openSafetensors } from "../../../src/weights/checkpoint.ts";
import { canDecode } from "../../../src/weights/convert.ts";
import { encodeSafetensors } from "../../../src/weights/encode.ts";
import { memorySource, rawSafetensors } from "../../weights/memory-source.ts";
import type { Target } from "../harness.ts";
import { mutatedBytes, mutatedJson, mutatedValues } from "../mutate.ts";

const entry = (dtype: string, shape: number[], begin: number, end: number) => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

const headers = [
  { a: entry("F32", [2, 3], 0, 24), "b.weight": entry("F16", [4], 24, 32), __metadata__: { format: "pt" } },
  {
    a: entry("BF16", [], 0, 2),
    b: entry("U8", [0, 3], 2, 2),
    c: entry("I64", [2], 2, 18),
    d: entry("BOOL", [2], 18, 20),
  },
  { "down.0": entry("F8_E4M3", [4], 0, 4), "down.1": entry("F64", [2], 4, 20) },
];
const dataBytes = Uint8Array.from({ length: 32 }, (_, i) => 7 * i);
const sizes = [32, 20, 20];
const files = headers.map((header, i) => rawSafetensors(header, dataBytes.subarray(0, sizes[i])));

/** Tables and values of all tensors that have some. */
export async function contents(checkpoint: Checkpoint) {
  const values: unknown[] = [];
  for (const [name, { dtype }] of checkpoint.tensors)
    values.push(canDecode(dtype) ? await checkpoint.read(name) : await checkpoint.readBytes(name));
  return { tensors: checkpoint.tensors, metadata: checkpoint.metadata, values };
}

/** Changed headers, of the right length or of another. */
const withHeader = fc
  .record({
    header: mutatedValues(headers),
    data: fc.constantFrom(...sizes, 0, 31),
    length: fc.option(fc.constantFrom<number | bigint>(0, 7, 1000, 2 ** 32, 2n ** 63n, 26214401)),
  })
  .map(({ header, data, length }) => rawSafetensors(JSON.stringify(header), data, length ?? undefined));

export const safetensors: Target = {
  name: "safetensors",
  seeds: files,
  input: fc.oneof(withHeader, mutatedBytes(files)),
  read: async (bytes) => contents(await openSafetensors(memorySource({ "a.safetensors": bytes }), "a.safetensors")),
};

const shard = (names: string[]) =>
  encodeSafetensors(
    Object.fromEntries(names.map((name) => [name, { dtype: "F32", shape: [1], data: Float32Array.of(1) } as const])),
    {},
  );
const shards = {
  "model-00001-of-00002.safetensors": shard(["a", "b"]),
  "model-00002-of-00002.safetensors": shard(["c"]),
};
const [first, second] = Object.keys(shards);
const index = { metadata: { total_size: 12 }, weight_map: { a: first, b: first, c: second } };
const indexInput = mutatedJson([index]);

export const shardIndex: Target = {
  name: "shards",
  seeds: [new TextEncoder().encode(JSON.stringify(index))],
  input: indexInput,
  read: async (bytes) =>
    contents(await openCheckpoint(memorySource({ ...shards, "model.safetensors.index.json": bytes }), "")),
};
