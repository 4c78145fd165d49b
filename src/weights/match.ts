/** Does a checkpoint fit a network? Every misfit is reported at once. */

import { type MismatchedTensor, WeightError } from "../runtime/errors.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { PARAMETER_DTYPES } from "./dtype.ts";
import { legacyName } from "./names.ts";
import type { TensorInfo } from "./safetensors.ts";

/** A parameter that a network needs, by today's name in diffusers. */
export interface ExpectedTensor {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Where a parameter is in a checkpoint of another layout. */
export interface TensorSource extends ExpectedTensor {
  /** The tensor's row of each of the parameter's rows; absent where it is the whole tensor in its order. */
  readonly rows?: readonly number[];
}

export type LocateTensor = (param: ExpectedTensor) => TensorSource;

export interface MatchOptions {
  /** Tensors that the checkpoint may hold besides (matched against its own names). */
  readonly ignore?: RegExp;
  /** Where the parameters are; default: in tensors of their names. */
  readonly locate?: LocateTensor;
  /** For errors: how the tensors' names were read, and why so. */
  readonly layout?: string;
}

/**
 * Pairs a network's parameters with a checkpoint's tensors.
 *
 * @returns the tensor of each expected name
 * @throws WeightError listing all that are missing, not expected, of another shape, or of a type that no parameter can
 * have, in the checkpoint's own spelling.
 */
export function matchTensors(
  checkpoint: Checkpoint,
  expected: Iterable<ExpectedTensor>,
  { ignore, locate = (param) => param, layout }: MatchOptions = {},
): Map<string, TensorInfo> {
  const matched = new Map<string, TensorInfo>();
  const missing = new Set<string>();
  const mismatched: MismatchedTensor[] = [];
  const unexpected: string[] = [];
  const seen = new Set<TensorInfo>();
  const old = [...checkpoint.tensors].some(([name, tensor]) => tensor.name !== name);
  for (const param of expected) {
    const { name, shape } = locate(param);
    const tensor = checkpoint.tensors.get(name);
    if (!tensor) {
      missing.add(old ? legacyName(name) : name);
      continue;
    }
    matched.set(param.name, tensor);
    if (seen.has(tensor)) continue;
    seen.add(tensor);
    if (!PARAMETER_DTYPES.has(tensor.dtype)) unexpected.push(`${tensor.name} of type ${tensor.dtype}`);
    else if (!sameShape(tensor.shape, shape))
      mismatched.push({ name: tensor.name, expected: shape, actual: tensor.shape });
  }
  for (const tensor of checkpoint.tensors.values())
    if (!seen.has(tensor) && !ignore?.test(tensor.name)) unexpected.push(tensor.name);
  if (missing.size + mismatched.length + unexpected.length > 0)
    throw new WeightError(checkpoint.file, [...missing], unexpected, mismatched, layout);
  return matched;
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((dimension, axis) => dimension === b[axis]);
}
