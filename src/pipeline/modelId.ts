/** What identifies a model: the hash of its bytes, and that of earlier versions. */

import type { AutoencoderModel } from "../autoencoder/open.ts";
import { checkKind } from "../runtime/options.ts";
import type { Checkpoint } from "../weights/checkpoint.ts";
import { sha256, textDigest, toHex } from "../weights/digests.ts";
import type { Model } from "./model.ts";

/** The name, type, shape and digest of tensors, by name. */
async function identified(checkpoint: Checkpoint, names: readonly string[], signal?: AbortSignal) {
  const digests = await checkpoint.digests(names, { signal });
  return [...names].sort().map((name) => {
    const { dtype, shape } = checkpoint.info(name);
    return [name, dtype, shape, digests[name]];
  });
}

/**
 * 32 hex digits that identify what a model computes: SHA-256 of its configuration and of the bytes of all the tensors that
 * make pictures, the network's and the first stage's decoder's, wherever and in whichever files they lie. Tensors that were
 * loaded were hashed meanwhile; the others are read now.
 *
 * @throws FileError, also where the platform has no Web Cryptography; the signal's reason
 */
export async function modelId(model: Model, signal?: AbortSignal): Promise<string> {
  checkKind("modelId", "model", "a model", model);
  const { checkpoint, config, scheduler, reading, firstStage, networkTensors } = model;
  const facts = [
    ...["ddim-webgpu model 2", config, scheduler, reading, firstStage?.spec ?? null],
    await identified(checkpoint, networkTensors, signal),
    firstStage && (await identified(firstStage.checkpoint, firstStage.decoderTensors, signal)),
  ];
  return (await textDigest(JSON.stringify(facts))).slice(0, 32);
}

/** The same of an autoencoder by itself. @throws FileError; the signal's reason */
export async function autoencoderId({ spec, checkpoint }: AutoencoderModel, signal?: AbortSignal): Promise<string> {
  const facts = [
    "ddim-webgpu autoencoder 1",
    spec,
    await identified(checkpoint, [...checkpoint.tensors.keys()], signal),
  ];
  return (await textDigest(JSON.stringify(facts))).slice(0, 32);
}

/** Bytes of each tensor that enter {@link modelHash}. */
const HASH_SAMPLE = 1024;
/** Reads under way at once. */
const HASH_READS = 16;

/**
 * Twelve hex digits that tell models apart at little cost: SHA-256 of the configuration, the table of tensors and the first
 * KiB of each. Pictures of versions up to 0.1.0 name their model so; {@link modelId} identifies the bytes.
 */
export async function modelHash(model: Model, signal?: AbortSignal): Promise<string> {
  checkKind("modelHash", "model", "a model", model);
  const { checkpoint, config, scheduler, reading, firstStage } = model;
  const byName = ({ tensors, source }: Checkpoint) =>
    [...tensors.values()].map((tensor) => ({ ...tensor, source })).sort((a, b) => (a.name < b.name ? -1 : 1));
  const tensors = [checkpoint, ...(firstStage ? [firstStage.checkpoint] : [])].flatMap(byName);
  const table = tensors.map(({ name, dtype, shape }) => [name, dtype, shape]);
  const facts = [
    config,
    scheduler,
    table,
    ...(reading === "" ? [] : [reading]),
    ...(firstStage ? [firstStage.spec] : []),
  ];
  const parts: Uint8Array[] = [new TextEncoder().encode(JSON.stringify(facts))];
  // In the order of the files, for sources that cannot go back; put together by name.
  const samples = new Map<(typeof tensors)[number], Uint8Array>();
  const placed = [...tensors].sort((a, b) => (a.file === b.file ? a.start - b.start : a.file < b.file ? -1 : 1));
  for (let i = 0; i < placed.length; i += HASH_READS)
    await Promise.all(
      placed.slice(i, i + HASH_READS).map(async (tensor) => {
        const { source, file, start, end } = tensor;
        const range = { start, end: Math.min(end, start + HASH_SAMPLE) };
        samples.set(tensor, await source.read(file, range, signal));
      }),
    );
  parts.push(...tensors.map((tensor) => samples.get(tensor) as Uint8Array));
  return toHex(await sha256(new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer()))).slice(0, 12);
}
