/** What running a lowered graph by itself takes: parameters out of arrays, and which values are its inputs. */
import type { Device } from "../runtime/device.ts";
import type { Target } from "../runtime/kernel.ts";
import type { GpuArray } from "../runtime/memory.ts";
import type { Value } from "../runtime/values.ts";
import { loadWeights, type ParamPiece } from "./load.ts";
import type { Lowered } from "./lower.ts";
import type { Weight } from "./weights.ts";

async function* piecesOf(params: Iterable<readonly [string, Float32Array]>): AsyncGenerator<ParamPiece> {
  for (const [name, { buffer, byteOffset, byteLength }] of params) {
    const bytes = new Uint8Array(buffer, byteOffset, byteLength);
    yield { name, dtype: "f32", offset: 0, total: byteLength, bytes };
  }
}

/** {@link loadWeights} from arrays: every parameter of the weights, by name. */
export const loadArrays = (
  device: Device,
  target: Target,
  weights: readonly Weight[],
  params: Iterable<readonly [string, Float32Array]>,
): Promise<Map<Value, GpuArray>> =>
  loadWeights(
    device,
    target,
    weights,
    piecesOf(params),
    ({ bytes }) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4),
  );

/** Values that are read but made by nobody: inputs. */
export function inputsOf({ calls, weights }: Lowered): Value[] {
  const known = new Set(weights.map(({ value }) => value));
  const inputs: Value[] = [];
  for (const { bound } of calls)
    for (const { value, access } of bound) {
      if (access === "in" && !known.has(value)) inputs.push(value);
      known.add(value);
    }
  return inputs;
}
