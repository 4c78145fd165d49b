/**
 * Puts the 1×1 shortcut of a resnet into the convolution that it is added to (see conv2d/gather.ts): one dispatch instead
 * of two or three. Only where the convolution reads a norm, whose kernel then copies the shortcut's sources on its way.
 */
import { type FusedConv, type FusedOp, isPlain } from "../runtime/fold.ts";
import type { Value } from "../runtime/values.ts";

const readsOf = (op: FusedOp): (Value | undefined)[] => {
  switch (op.op) {
    case "conv":
      return [...op.view.sources, op.view.affine, op.residual];
    case "norm":
      return [...op.sources];
    case "apply":
      return [...op.view.sources, op.view.affine];
    case "add":
      return [op.a, op.b];
    case "attention":
      return [op.q, op.kv];
    case "layerNorm":
    case "geglu":
    case "lookup":
      return [op.x];
    case "rows":
    case "fill":
      return [];
  }
};

/** A product of whole pixels that nothing else is added to. */
const isShortcut = ({ view, kernel, stride, pad, emb, residual, scale }: FusedConv): boolean =>
  isPlain({ ...view, sources: [view.sources[0]] }) &&
  kernel[0] * kernel[1] * stride === 1 &&
  pad.every((p) => p === 0) &&
  !emb &&
  !residual &&
  scale === 1;

/**
 * @param outputs values that somebody else reads
 * @param host whether a convolution can take a shortcut in
 */
export function mergeShortcuts(
  ops: readonly FusedOp[],
  outputs: ReadonlySet<Value>,
  host: (op: FusedConv) => boolean,
): FusedOp[] {
  const reads = new Map<Value, number>();
  for (const op of ops) for (const value of readsOf(op)) if (value) reads.set(value, (reads.get(value) ?? 0) + 1);
  const shortcuts = new Map<Value, FusedConv>();
  for (const op of ops)
    if (op.op === "conv" && isShortcut(op) && reads.get(op.y) === 1 && !outputs.has(op.y)) shortcuts.set(op.y, op);
  const merged = new Set<FusedOp>();
  const result = ops.map((op) => {
    const shortcut = op.op === "conv" && op.residual ? shortcuts.get(op.residual) : undefined;
    if (op.op !== "conv" || !shortcut || !host(op)) return op;
    merged.add(shortcut);
    const { view, weights } = shortcut;
    return { ...op, residual: undefined, shortcut: { sources: view.sources, weights } };
  });
  return result.filter((op) => !merged.has(op));
}
