/** Does a checkpoint fit a network? Every misfit is reported at once. */

import { FileError, type MismatchedTensor, WeightError } from "../runtime/errors.ts";
import { listed } from "../runtime/printable.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { DTYPE_BITS, PARAMETER_DTYPES } from "./dtype.ts";
import { legacyName } from "./names.ts";
import type { TensorInfo } from "./safetensors.ts";
import { sortSurplus } from "./surplus.ts";
import { IGNORE_UNKNOWN, type UnknownOptions } from "./unknown.ts";

/** A parameter that a network needs, by today's name in diffusers. */
export interface ExpectedTensor {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Where a parameter is in a checkpoint of another layout. */
export interface TensorSource extends ExpectedTensor {
  /** The tensor's output channel of each of the parameter's; absent where it is the whole tensor in its order. */
  readonly channels?: readonly number[];
}

export type LocateTensor = (param: ExpectedTensor) => TensorSource;

export interface MatchOptions extends UnknownOptions {
  /** Tensors that the checkpoint may hold besides. */
  readonly ignore?: RegExp;
  /** Where the parameters are; default: in tensors of their names. */
  readonly locate?: LocateTensor;
  /** For errors: how the tensors' names were read, and why so. */
  readonly layout?: string;
}

/** Weights that were made smaller, by tables and scales that nothing here applies. @throws FileError */
function refuseQuantised(file: string, matched: readonly TensorInfo[]): void {
  const small = matched.filter(({ dtype }) => DTYPE_BITS[dtype] <= 8);
  const [first] = small;
  if (!first) return;
  const types = [...new Set(small.map(({ dtype }) => dtype))].join(" and ");
  throw new FileError(
    file,
    `stores ${small.length} of its weights as ${types}, ${first.name} for one, which is not supported: save them as ${[...PARAMETER_DTYPES].join(", ")}`,
  );
}

/**
 * Pairs a network's parameters with a checkpoint's tensors. Where there is somebody to tell, by `warn`, tensors of kinds that
 * compute nothing are passed over, and with `unknown` "warn" all that nothing here uses.
 *
 * @returns the tensor of each expected name
 * @throws WeightError listing all that are missing, not expected, of another shape, or of a type that no parameter can
 * have, in the checkpoint's own spelling; FileError when the weights are quantised
 */
export function matchTensors(
  checkpoint: Checkpoint,
  expected: Iterable<ExpectedTensor>,
  { ignore, locate = (param) => param, layout, unknown, warn }: MatchOptions = {},
): Map<string, TensorInfo> {
  const matched = new Map<string, TensorInfo>();
  const missing = new Set<string>();
  const mismatched: MismatchedTensor[] = [];
  const unexpected: string[] = [];
  const seen = new Set<TensorInfo>();
  const sources: ExpectedTensor[] = [];
  const { file, prefix } = checkpoint;
  const old = [...checkpoint.tensors].some(
    ([name, tensor]) => legacyName(name) !== name && tensor.name === prefix + legacyName(name),
  );
  for (const param of expected) {
    const { name, shape } = locate(param);
    const tensor = checkpoint.tensors.get(name);
    sources.push({ name, shape });
    if (!tensor) {
      missing.add(prefix + (old ? legacyName(name) : name));
      continue;
    }
    matched.set(param.name, tensor);
    if (seen.has(tensor)) continue;
    seen.add(tensor);
    if (!PARAMETER_DTYPES.has(tensor.dtype)) unexpected.push(`${tensor.name} of type ${tensor.dtype}`);
    else if (!sameShape(tensor.shape, shape))
      mismatched.push({ name: tensor.name, expected: shape, actual: tensor.shape });
  }
  refuseQuantised(file, [...seen]);
  const unused = [...checkpoint.tensors].flatMap(([name, tensor]) =>
    seen.has(tensor) || ignore?.test(name) ? [] : [name],
  );
  const surplus = warn ? sortSurplus(unused, checkpoint.tensors, sources) : { harmless: new Map(), unknown: unused };
  const rest = surplus.unknown.map((name) => checkpoint.info(name).name);
  if (unknown !== "warn") unexpected.push(...rest);
  if (missing.size + mismatched.length + unexpected.length > 0) {
    const way = unknown !== "warn" && rest.length > 0 ? `${IGNORE_UNKNOWN} passes over unexpected ones` : undefined;
    throw new WeightError(file, [...missing], unexpected, mismatched, layout, way);
  }
  const kinds = [...surplus.harmless].map(([kind, count]) => `${count} ${kind}`);
  if (kinds.length > 0) warn?.(`${file}: tensors that compute nothing are passed over: ${kinds.join(", ")}`);
  if (rest.length > 0)
    warn?.(`${file}: ${rest.length} tensors that nothing here uses are passed over: ${listed(rest)}`);
  return matched;
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((dimension, axis) => dimension === b[axis]);
}
