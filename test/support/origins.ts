/** The originals' checkpoints: in golden folders, or by their tables of tensors alone, to be opened and damaged. */
import { readFileSync } from "node:fs";
import { type MemorySource, memorySource, rawSafetensors } from "../weights/memory-source.ts";
import { goldenPath, type SafetensorsHeader } from "./models.ts";

export interface Origin {
  config: Record<string, unknown>;
  /** Shapes by name. */
  tensors: Record<string, number[]>;
}

/** Configuration and tensors of the checkpoints in tensors.json; a copy of their own for every caller. */
export function readOrigin(name: string): Origin {
  return JSON.parse(readFileSync(goldenPath("origin/tensors.json"), "utf8"))[name];
}

/** A folder with a configuration and a checkpoint of zeros. */
export function originSource({ config, tensors }: Origin): MemorySource {
  let at = 0;
  const header: SafetensorsHeader = {};
  for (const [name, shape] of Object.entries(tensors)) {
    const bytes = 2 * shape.reduce((a, b) => a * b, 1);
    header[name] = { dtype: "F16", shape, data_offsets: [at, at + bytes] };
    at += bytes;
  }
  return memorySource({ "config.json": JSON.stringify(config), "model.safetensors": rawSafetensors(header, at) });
}
