/**
 * Devices of exactly the limits that the specification promises, without any optional feature: what `npm test` meets
 * nowhere else, and phones, old GPUs and other browsers have.
 */
import { create, globals } from "webgpu";
import { Device } from "../../src/runtime/device.ts";

/** By the specification's feature levels; "compatibility" has 128 threads per workgroup and textures of 4096. */
export type Level = "core" | "compatibility";

export const LEVELS: readonly Level[] = ["core", "compatibility"];

/** A validated device of the first adapter, with the level's default limits. */
export async function limitedDevice(featureLevel: Level): Promise<Device> {
  Object.assign(globalThis, globals);
  const gpu = create([]);
  // Node aborts once this object is collected.
  Object.assign(globalThis, { [`${featureLevel}Gpu`]: gpu });
  const adapter = await gpu.requestAdapter({ featureLevel });
  if (!adapter) throw new Error(`no adapter of the ${featureLevel} level`);
  return new Device(await adapter.requestDevice(), adapter.info, true);
}
