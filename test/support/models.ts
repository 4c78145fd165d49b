/** The shipped models and the golden folders: where they are, their tensors, and copies of them in memory to damage. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { openSafetensorsFile } from "../../src/node/folder.ts";
import { loadPipeline, type NodeLoadOptions } from "../../src/node/index.ts";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import type { ForwardInputs, Tensor } from "../../src/pipeline/types.ts";
import { type MemorySource, memorySource } from "../weights/memory-source.ts";
import { testDevice } from "./gpu.ts";

export const goldenPath = (name: string): string => fileURLToPath(new URL(`../golden/${name}`, import.meta.url));
export const shippedPath = (name: string): string => fileURLToPath(new URL(`../../weights/${name}`, import.meta.url));

/** Every tensor of a file, as float32. */
export async function readTensors(path: string): Promise<Record<string, Tensor>> {
  const file = await openSafetensorsFile(path);
  const entries = [...file.tensors].map(async ([name, { shape }]) => [name, { shape, data: await file.read(name) }]);
  return Object.fromEntries(await Promise.all(entries));
}

/** A golden evaluation: what goes in, what has to come out. */
export async function readEvaluation(path: string): Promise<{ inputs: ForwardInputs; output: Tensor }> {
  const tensors = await readTensors(path);
  const { sample, timestep, class_labels: labels, output } = tensors;
  const inputs: ForwardInputs = {
    sample: sample!,
    timestep: [...timestep!.data],
    classLabels: labels?.shape.length === 1 ? [...labels.data] : undefined,
    classVectors: labels?.shape.length === 2 ? labels : undefined,
    context: tensors.encoder_hidden_states,
    textEmbeds: tensors["added/text_embeds"],
    timeIds: tensors["added/time_ids"],
    timestepCond: tensors.timestep_cond,
  };
  return { inputs, output: output! };
}

/** A model on the process's shared, validated device. */
export async function load(
  source: Parameters<typeof loadPipeline>[0],
  options: NodeLoadOptions = {},
): Promise<DiffusionPipeline> {
  return loadPipeline(source, { device: await testDevice(), ...options });
}

/** The files of a folder by their paths in it. */
export function readFolder(folder: string): Record<string, Uint8Array> {
  const paths = readdirSync(folder, { recursive: true, encoding: "utf8" }).map((path) => join(folder, path));
  const files = paths.filter((path) => statSync(path).isFile());
  return Object.fromEntries(
    files.map((path) => [relative(folder, path).split(sep).join("/"), new Uint8Array(readFileSync(path))]),
  );
}

/** A folder's files in memory, some replaced; undefined takes one away. */
export function sourceOf(
  folder: string,
  changes: Record<string, Uint8Array | string | undefined> = {},
  name = "model",
): MemorySource {
  const files = Object.entries({ ...readFolder(folder), ...changes }).filter(([, data]) => data !== undefined);
  return memorySource(Object.fromEntries(files) as Record<string, Uint8Array | string>, name);
}

/** Where diffusers keeps the weights of a network in a pipeline's folder. */
export const WEIGHTS = "unet/diffusion_pytorch_model.safetensors";

export type SafetensorsHeader = Record<string, { dtype: string; shape: number[]; data_offsets: number[] }>;

/** A safetensors file's header and the bytes after it, to change and put together again with `rawSafetensors`. */
export function splitSafetensors(file: Uint8Array): { header: SafetensorsHeader; data: Uint8Array } {
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  return { header: JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length))), data: file.slice(8 + length) };
}
