/**
 * Packed convolution weights kept between loads, so that the next load of the same network on the same kind of adapter
 * reads them as they lie in memory. Everything else of a network is small and always read from the checkpoint.
 */

import { packWeights } from "../kernels/pack.ts";
import { packWinograd } from "../kernels/software/winograd/pack.ts";
import type { PackedForm, Weight } from "../kernels/weights.ts";
import type { Device } from "../runtime/device.ts";
import type { Target } from "../runtime/kernel.ts";
import { createValueArray, type GpuArray } from "../runtime/memory.ts";
import { byteSize, makeValue, TEXTURE_WIDTH, unitBytes, type Value } from "../runtime/values.ts";
import type { Checkpoint } from "../weights/checkpoint.ts";
import { textDigest } from "../weights/digests.ts";
import type { StreamOptions } from "../weights/stream.ts";

/** Reads the parts of one entry. */
export interface PackedReader {
  /** What was given with the parts when they were saved. */
  readonly note: string;
  /** The next part, which is as large as the target. @returns false when it is damaged; then nothing of the entry counts */
  read(target: Uint8Array): Promise<boolean>;
  close(): Promise<void>;
}

/** Where packed weights are kept: a folder. */
export interface PackedStore {
  /** @returns undefined where there is no entry of this key with parts of these sizes */
  open(key: string, sizes: readonly number[]): Promise<PackedReader | undefined>;
  /** Keeps parts of these sizes in the place of what is there, or does not: weights load all the same. */
  save(key: string, sizes: readonly number[], parts: AsyncIterable<Uint8Array>, note: string): Promise<void>;
}

/** A store, and what tells a model's entries from those of others. The weights themselves are compared with an entry's note. */
export interface PackedWeights {
  readonly store: PackedStore;
  readonly model: string;
  /** Values of the parameters that are not packed, since they were first read: small, and read once. */
  readonly others: Map<string, Float32Array>;
}

/** An entry's note, as JSON: which bytes were packed. */
interface Note {
  /** Of the checkpoint's files, when they were read. */
  readonly stamps?: Readonly<Record<string, string>>;
  /** Of the tensors that were packed. */
  readonly digests: Readonly<Record<string, string>>;
}

/** Bytes that are uploaded before the queue is waited for. */
const STAGING_BYTES = 64 * 2 ** 20;

type Packed = Weight<PackedForm>;

/** The checkpoint's tensors that are packed. */
const tensorsOf = (weights: readonly Packed[]): string[] =>
  [...new Set(weights.flatMap(({ params }) => params.map(({ name }) => name)))].sort();

function parseNote(text: string): Note {
  try {
    return { digests: {}, ...(JSON.parse(text) as Partial<Note>) };
  } catch {
    return { digests: {} };
  }
}

/** How an entry fits the checkpoint: at once, by its files; by its bytes, which had to be read; or not. */
async function fits(
  checkpoint: Checkpoint,
  names: readonly string[],
  text: string,
  options: StreamOptions,
): Promise<"files" | "bytes" | undefined> {
  const note = parseNote(text);
  const stamps = await checkpoint.stamps(names, options.signal);
  const same = (a: object | undefined, b: object | undefined) => JSON.stringify(a) === JSON.stringify(b);
  const complete = same(names, Object.keys(note.digests));
  if (stamps && complete && same(stamps, note.stamps)) {
    checkpoint.recall(note.digests);
    return "files";
  }
  return same(await checkpoint.digests(names, options), note.digests) ? "bytes" : undefined;
}

const sizesOf = (weights: readonly Packed[]): number[] => weights.map(({ value }) => byteSize(value, 1));

/** Sources of the kernels that pack: others would pack otherwise. */
function packSources(target: Target, { value }: Packed): string[] {
  const raw = makeValue({ name: "raw", shape: [4], batched: false, dtype: "u32", storage: "buffer" });
  const scalars = { TAPS: 1, CI: 1, CP: 1, L: 1, OC: 1, O0: 0, SPAN: 1, AT: 0 };
  const tensors = { raw, inputs: raw, outputs: raw, w: value };
  return [packWeights, packWinograd].map(
    (kernel) =>
      kernel.lower({ ...target, shapes: "uniform" }, "key", tensors, { source: "f32" as const }, scalars).source,
  );
}

/** Hex digits of everything that decides the bytes: the model, what becomes of each of its tensors, the kernels. */
async function keyOf(model: string, target: Target, weights: readonly Packed[]): Promise<string> {
  const layout = weights.map(({ value: { dtype, storage, shape }, params, form }) => [
    dtype,
    storage,
    shape,
    params,
    form,
  ]);
  const [first] = weights;
  const text = JSON.stringify([model, layout, first ? packSources(target, first) : []]);
  return (await textDigest(text)).slice(0, 24);
}

function upload(device: Device, { value }: Packed, { object }: GpuArray, data: Uint8Array<ArrayBuffer>): void {
  if (value.storage === "buffer") {
    device.gpu.queue.writeBuffer(object as GPUBuffer, 0, data);
    return;
  }
  const bytesPerRow = TEXTURE_WIDTH * unitBytes(value.dtype);
  const size = [TEXTURE_WIDTH, data.byteLength / bytesPerRow];
  device.gpu.queue.writeTexture({ texture: object as GPUTexture }, data, { bytesPerRow }, size);
}

async function read(
  device: Device,
  reader: PackedReader,
  weights: readonly Packed[],
  arrays: readonly GpuArray[],
  signal?: AbortSignal,
): Promise<boolean> {
  const sizes = sizesOf(weights);
  const space = new Uint8Array(sizes.reduce((a, b) => Math.max(a, b), 0));
  let staged = 0;
  for (const [i, weight] of weights.entries()) {
    signal?.throwIfAborted();
    const data = space.subarray(0, sizes[i]);
    if (!(await reader.read(data))) return false;
    upload(device, weight, arrays[i] as GpuArray, data);
    staged += data.byteLength;
    if (staged < STAGING_BYTES) continue;
    device.submit([]);
    await device.done();
    staged = 0;
  }
  return true;
}

/**
 * The arrays of convolution weights from the store, where it has them of these very weights. Where the files are not those
 * of when they were packed, all of the tensors are read to find that out.
 * @returns undefined where the store has nothing whole of them; then nothing stays allocated
 * @throws DeviceError "out-of-memory"; FileError; the signal's reason when aborted
 */
export async function loadPacked(
  device: Device,
  target: Target,
  weights: readonly Packed[],
  checkpoint: Checkpoint,
  { store, model }: Omit<PackedWeights, "others">,
  options: StreamOptions = {},
): Promise<Map<Value, GpuArray> | undefined> {
  const reader = await store.open(await keyOf(model, target, weights), sizesOf(weights));
  if (!reader) return undefined;
  const names = tensorsOf(weights);
  const arrays: GpuArray[] = [];
  const release = () => {
    for (const { object } of arrays.splice(0)) device.release(object);
  };
  try {
    try {
      const how = await fits(checkpoint, names, reader.note, options);
      if (!how) return undefined;
      await device.allocate("the network's weights", () => {
        for (const { value } of weights) arrays.push(createValueArray(device, value));
      });
      if (!(await read(device, reader, weights, arrays, options.signal))) {
        release();
        return undefined;
      }
      // Next time the files alone tell it.
      if (how === "bytes" && (await checkpoint.stamps(names))) {
        const loaded = new Map(weights.map((weight, i) => [weight, arrays[i] as GpuArray]));
        await savePacked(device, target, loaded, checkpoint, { store, model });
      }
      return new Map(weights.map(({ value }, i) => [value, arrays[i] as GpuArray]));
    } finally {
      await reader.close();
    }
  } catch (error) {
    release();
    throw error;
  }
}

/** Puts arrays of convolution weights, of tensors that were read, into the store, one after the other. */
export async function savePacked(
  device: Device,
  target: Target,
  arrays: ReadonlyMap<Packed, GpuArray>,
  checkpoint: Checkpoint,
  { store, model }: Omit<PackedWeights, "others">,
): Promise<void> {
  const weights = [...arrays.keys()];
  const names = tensorsOf(weights);
  const note: Note = { stamps: await checkpoint.stamps(names), digests: await checkpoint.digests(names) };
  async function* parts(): AsyncGenerator<Uint8Array> {
    for (const [{ value }, array] of arrays) yield new Uint8Array(await device.read(array.object, byteSize(value, 1)));
  }
  await store.save(await keyOf(model, target, weights), sizesOf(weights), parts(), JSON.stringify(note));
}
