/** Whether a number that is not finite came from the weights. */
import { NonFiniteError } from "../runtime/errors.ts";
import { firstNonFinite } from "../runtime/finite.ts";
import type { Checkpoint } from "../weights/checkpoint.ts";
import { canDecode } from "../weights/convert.ts";

/** The first tensor with a number that is not finite, in words; reads them all. */
async function brokenTensor(checkpoint: Checkpoint): Promise<string | undefined> {
  const floats = [...checkpoint.tensors].filter(([, { dtype }]) => canDecode(dtype)).map(([name]) => name);
  for await (const { tensor, offset, values } of checkpoint.floats(floats)) {
    const at = firstNonFinite(values);
    if (at >= 0) return `${checkpoint.file}: tensor ${tensor.name} holds ${values[at]} at position ${offset + at}`;
  }
  return undefined;
}

/** A failure with the tensor that explains it, where one of the weights is not finite. */
export async function blameWeights(
  failure: NonFiniteError,
  { checkpoint }: { checkpoint: Checkpoint },
): Promise<NonFiniteError> {
  const { step, t, image, layer } = failure;
  // A checkpoint that cannot be read any more explains nothing, and is not what failed.
  const tensor = await brokenTensor(checkpoint).catch(() => undefined);
  return tensor ? new NonFiniteError(`${failure.message}; ${tensor}`, { step, t, image, layer }) : failure;
}
