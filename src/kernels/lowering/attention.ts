/** Attention: one streaming kernel, or two products with the softmax between them. */
import type { AttentionNode } from "../../runtime/graph.ts";
import { ceilDiv } from "../../runtime/values.ts";
import { attentionMethod, attentionScores, attentionSoftmax, attentionValues, pixels } from "../attention/products.ts";
import { attention } from "../attention/streaming.ts";
import { columnBlocks } from "../parts/outerProduct.ts";
import type { Context } from "./context.ts";

export function lowerAttention(ctx: Context, op: AttentionNode): void {
  const { label, q, kv, y, heads, headDim, kGroup, vGroup } = op;
  const scalars = { QO: 0, KO: kGroup, VO: vGroup, HEADS: heads, SCALE: 1 / Math.sqrt(headDim) };
  const d4 = ceilDiv(headDim, 4);
  const method = ctx.byLanes ? attentionMethod(op, ctx.target) : undefined;
  if (method !== "products") {
    ctx.calls.push(attention.lower(ctx.target, label, { q, kv, y }, { d4 }, scalars, method));
    return;
  }
  const { lanes } = ctx.target;
  const [LQ, LK] = [pixels(q), pixels(kv)];
  const sizes = { ...scalars, D4: d4, LK4: ceilDiv(LK, 4) };
  const matrix = (name: string) => ctx.intermediate(`${label}.${name}`, [heads, LQ, LK], [LK], "f32");
  const [s, p] = [matrix("scores"), matrix("probabilities")];
  const inverse = ctx.intermediate(`${label}.inverse`, [heads, LQ, 1], [1], "f32");
  ctx.calls.push(
    attentionScores.lower(ctx.target, label, { q, kv, s }, { blocks: columnBlocks(sizes.LK4, lanes) }, sizes),
    attentionSoftmax.lower(ctx.target, label, { s, p, inverse }, {}, { ...sizes, LQ, LK }),
    attentionValues.lower(ctx.target, label, { p, inverse, kv, y }, { blocks: columnBlocks(d4, lanes) }, sizes),
  );
}
