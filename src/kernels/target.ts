/** Which kernels a device gets. Measured choices; see docs/decisions. */
import type { Device } from "../runtime/device.ts";
import { UsageError } from "../runtime/errors.ts";
import type { Methods, Target } from "../runtime/kernel.ts";

/**
 * Software adapters with a fixed subgroup size: textures as linear memory (reading a storage
 * texture is the cheapest fetch there is), shapes in uniforms (a pipeline costs up to seconds to compile), barrier-free subgroup kernels. Everything else:
 * buffers, shapes in the source, matrix units where the device has them.
 */
export function targetFor(device: Device, methods?: Methods): Target {
  const { software, subgroupSize, storageTextures, storageBuffers, matrix } = device.capabilities;
  const lanes = software && [4, 8, 16].includes(subgroupSize) ? subgroupSize : 0;
  return lanes
    ? { shapes: "uniform", storage: "texture", lanes, software, storageTextures, storageBuffers, methods }
    : { shapes: "const", storage: "buffer", lanes: 0, software, storageBuffers, matrix };
}

/** "high" takes no method that rounds more than f32 has to; "fast" takes whatever is quickest. */
export type Precision = "high" | "fast";

/** @throws UsageError for another word */
export function methodsFor(precision: Precision = "fast", measured?: Methods["measured"]): Methods {
  if (precision !== "high" && precision !== "fast")
    throw new UsageError("precision", `precision must be high or fast, got ${String(precision)}`);
  return precision === "high" ? { conv2d: "gather", measured } : { measured };
}
