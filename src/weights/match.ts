/** Does a checkpoint fit a network? Every misfit is reported at once. */

import { type MismatchedTensor, WeightError } from "../runtime/errors.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { PARAMETER_DTYPES } from "./dtype.ts";
import { legacyName } from "./names.ts";
import type { TensorInfo } from "./safetensors.ts";

/** A parameter that a network needs, by today's name. */
export interface ExpectedTensor {
  readonly name: string;
  readonly shape: readonly number[];
}

/**
 * Pairs a network's parameters with a checkpoint's tensors.
 *
 * @param options.ignore - tensors that the checkpoint may hold besides (matched against its own names)
 * @returns the tensor of each expected name
 * @throws WeightError listing all that are missing, not expected, of another shape, or of a type that no parameter can
 * have, in the checkpoint's own spelling.
 */
export function matchTensors(
  checkpoint: Checkpoint,
  expected: Iterable<ExpectedTensor>,
  options: { ignore?: RegExp } = {},
): Map<string, TensorInfo> {
  const matched = new Map<string, TensorInfo>();
  const missing: string[] = [];
  const mismatched: MismatchedTensor[] = [];
  const unexpected: string[] = [];
  const old = [...checkpoint.tensors].some(([name, tensor]) => tensor.name !== name);
  for (const { name, shape } of expected) {
    const tensor = checkpoint.tensors.get(name);
    if (!tensor) {
      missing.push(old ? legacyName(name) : name);
      continue;
    }
    matched.set(name, tensor);
    if (!PARAMETER_DTYPES.has(tensor.dtype)) unexpected.push(`${tensor.name} of type ${tensor.dtype}`);
    else if (!sameShape(tensor.shape, shape))
      mismatched.push({ name: tensor.name, expected: shape, actual: tensor.shape });
  }
  for (const [name, tensor] of checkpoint.tensors)
    if (!matched.has(name) && !options.ignore?.test(tensor.name)) unexpected.push(tensor.name);
  if (missing.length + mismatched.length + unexpected.length > 0)
    throw new WeightError(checkpoint.file, missing, unexpected, mismatched);
  return matched;
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((dimension, axis) => dimension === b[axis]);
}
