/**
 * Puts the 1×1 shortcut of a resnet into the convolution that it is added to (see convGather.ts): one dispatch instead
 * of two or three. Only where the convolution reads a norm, whose kernel then copies the shortcut's sources on its way.
 */
import type { Target } from "../../runtime/kernel.ts";
import type { Value } from "../../runtime/values.ts";
import type { ConvNode } from "../conv2d/node.ts";
import { appliesWhole } from "../lowering/norms.ts";
import { isPlain } from "../operations/node.ts";
import type { Node } from "../operations/table.ts";
import { usesWinograd } from "./winograd/choice.ts";

/** A product of whole pixels that nothing else is added to. */
const isShortcut = ({ view, kernel, stride, pad, emb, residual, scale }: ConvNode): boolean =>
  isPlain({ ...view, sources: [view.sources[0]] }) &&
  kernel[0] * kernel[1] * stride === 1 &&
  pad.every((p) => p === 0) &&
  !emb &&
  !residual &&
  scale === 1;

/** @param reads how often every value is read, outputs once more */
export function mergeShortcuts(ops: readonly Node[], reads: ReadonlyMap<Value, number>, target: Target): Node[] {
  const norms = new Set(ops.flatMap((op) => (op.op === "norm" && appliesWhole(op) ? [op.y] : [])));
  const hosts = (op: ConvNode) =>
    op.view.affine && norms.has(op.view.affine) && !op.view.upsample && op.stride === 1 && !usesWinograd(op, target);
  const shortcuts = new Map<Value, ConvNode>();
  for (const op of ops) if (op.op === "conv2d" && isShortcut(op) && reads.get(op.y) === 1) shortcuts.set(op.y, op);
  const merged = new Set<Node>();
  const result = ops.map((op) => {
    const shortcut = op.op === "conv2d" && op.residual ? shortcuts.get(op.residual) : undefined;
    if (op.op !== "conv2d" || !shortcut || !hosts(op)) return op;
    merged.add(shortcut);
    const { view, weights } = shortcut;
    return { ...op, residual: undefined, shortcut: { sources: view.sources, weights } };
  });
  return result.filter((op) => !merged.has(op));
}
