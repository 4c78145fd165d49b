/** Which kernels a device gets. Measured choices; see docs/decisions. */
import type { Device } from "../runtime/device.ts";
import { UsageError } from "../runtime/errors.ts";
import type { Methods, Target } from "../runtime/kernel.ts";
import { matrixThreads } from "./gpu/convMatrix.ts";

/**
 * Sizes of subgroups whose kernels every test run checks: SwiftShader's and llvmpipe's. With 16 lanes
 * (LP_NATIVE_VECTOR_WIDTH=512) llvmpipe loads the channels of rgba32float textures in the wrong places.
 */
const LANES = [4, 8];

/**
 * Software adapters: shapes in uniforms, because a pipeline costs up to seconds to compile; with a fixed subgroup size
 * also textures as linear memory (reading a storage texture is the cheapest fetch there is) and barrier-free subgroup
 * kernels. Everything else: buffers, shapes in the source, matrix units where the device has them and their workgroups
 * fit.
 */
export function targetFor({ capabilities }: Pick<Device, "capabilities">, methods?: Methods): Target {
  const { software, subgroupSize, storageTextures, storageBuffers, matrix, maxThreads } = capabilities;
  const limits = { software, maxThreads, storageBuffers };
  if (!software) {
    const usable = matrix && matrixThreads(matrix) <= maxThreads ? matrix : undefined;
    return { shapes: "const", storage: "buffer", lanes: 0, matrix: usable, ...limits };
  }
  return LANES.includes(subgroupSize)
    ? { shapes: "uniform", storage: "texture", lanes: subgroupSize, storageTextures, methods, ...limits }
    : { shapes: "uniform", storage: "buffer", lanes: 0, ...limits };
}

/** "high" takes no method that rounds more than f32 has to; "fast" takes whatever is quickest. */
export type Precision = "high" | "fast";

/** @throws UsageError for another word */
export function methodsFor(precision: Precision = "fast", measured?: Methods["measured"]): Methods {
  if (precision !== "high" && precision !== "fast")
    throw new UsageError("precision", `precision must be high or fast, got ${String(precision)}`);
  return precision === "high" ? { conv2d: "gather", measured } : { measured };
}
