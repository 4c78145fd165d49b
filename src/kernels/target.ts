/** Which kernels a device gets. Measured choices; see docs/decisions. */
import type { Device } from "../runtime/device.ts";
import type { Target } from "../runtime/kernel.ts";

/**
 * Software adapters with a fixed subgroup size: textures as linear memory (a fetch costs half of a storage buffer's
 * load), shapes in uniforms (a pipeline costs up to seconds to compile), barrier-free subgroup kernels. Everything else:
 * buffers and shapes in the source.
 */
export function targetFor(device: Device): Target {
  const { software, subgroupSize } = device.capabilities;
  const lanes = software && [4, 8, 16].includes(subgroupSize) ? subgroupSize : 0;
  return lanes
    ? { shapes: "uniform", storage: "texture", lanes, software }
    : { shapes: "const", storage: "buffer", lanes: 0, software };
}
