/** Attention: one streaming kernel, or two products with the softmax between them. */
import { ceilDiv } from "../../runtime/values.ts";
import { type AttentionInit, pixels } from "../attention/contract.ts";
import { attention as streaming } from "../attention/streaming.ts";
import { attentionMethod, attentionScores, attentionSoftmax, attentionValues } from "../software/attentionProducts.ts";
import { columnBlocks } from "../software/outerProduct.ts";
import { hwc } from "./node.ts";
import { defineOp } from "./operation.ts";

/** softmax(q·kᵀ/√d)·v of every head; pixels are tokens. */
export const attention = defineOp({
  name: "attention",
  build(graph, label, init: AttentionInit) {
    const [h, w] = hwc(init.q);
    const segments = Array.from({ length: init.heads }, () => init.headDim);
    const y = graph.value(`${label}.heads`, [h, w, init.heads * init.headDim], segments);
    return { ...init, y };
  },
  reads: ({ q, kv }) => [q, kv],
  lower(lowering, node) {
    const { label, q, kv, y, heads, headDim, kGroup, vGroup } = node;
    const scalars = { QO: 0, KO: kGroup, VO: vGroup, HEADS: heads, SCALE: 1 / Math.sqrt(headDim) };
    const d4 = ceilDiv(headDim, 4);
    const method = lowering.bySubgroups ? attentionMethod(node, lowering.target) : undefined;
    if (method !== "products") {
      lowering.calls.push(streaming.lower(lowering.target, label, { q, kv, y }, { d4 }, scalars, method));
      return;
    }
    const { lanes } = lowering.target;
    const [LQ, LK] = [pixels(q), pixels(kv)];
    const sizes = { ...scalars, D4: d4, LK4: ceilDiv(LK, 4) };
    const matrix = (name: string) => lowering.intermediate(`${label}.${name}`, [heads, LQ, LK], [LK], "f32");
    const [s, p] = [matrix("scores"), matrix("probabilities")];
    const inverse = lowering.intermediate(`${label}.inverse`, [heads, LQ, 1], [1], "f32");
    lowering.calls.push(
      attentionScores.lower(lowering.target, label, { q, kv, s }, { blocks: columnBlocks(sizes.LK4, lanes) }, sizes),
      attentionSoftmax.lower(lowering.target, label, { s, p, inverse }, {}, { ...sizes, LQ, LK }),
      attentionValues.lower(lowering.target, label, { p, inverse, kv, y }, { blocks: columnBlocks(d4, lanes) }, sizes),
    );
  },
});
