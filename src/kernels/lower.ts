/**
 * From fused operations to kernel calls for a target: the choice of kernels and the intermediate values they need
 * (src/kernels/lowering). On software adapters a convolution's view is materialised (`normalise`, `apply`), then gathered;
 * on GPUs it is read through the load map. Nothing here depends on the batch size.
 */
import { type FusedConv, type FusedOp, fold } from "../runtime/fold.ts";
import { type Graph, isParam } from "../runtime/graph.ts";
import type { KernelCall, Target } from "../runtime/kernel.ts";
import type { DType, Value } from "../runtime/values.ts";
import { add } from "./add.ts";
import { codebookLookup } from "./codebook.ts";
import { usesWinograd } from "./conv2d/winograd/choice.ts";
import { fillAffine } from "./fill.ts";
import { geglu } from "./geglu.ts";
import { layerNorm } from "./layerNorm.ts";
import { lowerAttention } from "./lowering/attention.ts";
import { Context } from "./lowering/context.ts";
import { lowerGpuConv } from "./lowering/gpuConv.ts";
import { LaneConvs } from "./lowering/laneConvs.ts";
import { appliesWhole, Norms } from "./lowering/norms.ts";
import type { Recipe } from "./recipes.ts";
import { gatherRows } from "./rows.ts";
import { mergeShortcuts } from "./shortcuts.ts";

export interface Lowered {
  readonly calls: readonly KernelCall[];
  readonly recipes: readonly Recipe[];
}

class Lowering {
  readonly #norms: Norms;
  readonly #laneConvs: LaneConvs;

  constructor(private readonly ctx: Context) {
    this.#norms = new Norms(ctx);
    this.#laneConvs = new LaneConvs(ctx, this.#norms);
  }

  lower(op: FusedOp): void {
    const { ctx } = this;
    switch (op.op) {
      case "conv":
        return ctx.byLanes ? this.#laneConvs.lower(op) : lowerGpuConv(ctx, op);
      case "norm":
        return this.#norms.norm(op);
      case "apply":
        return this.#norms.apply(op.label, op.view, op.y, op.pool);
      case "fill": {
        const { label, scale, shift, affine } = op;
        ctx.calls.push(fillAffine.lower(ctx.target, label, { affine }, {}, { SCALE: scale, SHIFT: shift }));
        return;
      }
      case "add": {
        const { label, a, b, y, scale } = op;
        ctx.calls.push(add.lower(ctx.target, label, { a, b, y }, {}, { SCALE: scale }));
        return;
      }
      case "layerNorm": {
        const { label, x, gamma, beta, eps, y } = op;
        const tensors = { x, gamma: ctx.recipes.vector(gamma), beta: ctx.recipes.vector(beta), y };
        ctx.calls.push(layerNorm.lower(ctx.target, label, tensors, {}, { EPS: eps }));
        return;
      }
      case "geglu": {
        ctx.calls.push(geglu.lower(ctx.target, op.label, { x: op.x, y: op.y }, {}));
        return;
      }
      case "attention":
        return lowerAttention(ctx, op);
      case "lookup": {
        const { label, x, indices, y } = op;
        const tensors = { x, table: ctx.recipes.table(op.table), indices, y };
        ctx.calls.push(codebookLookup.lower(ctx.target, label, tensors, {}));
        return;
      }
      case "rows": {
        const { label, by, labels, y } = op;
        const table = isParam(op.table) ? ctx.recipes.table(op.table) : op.table;
        ctx.calls.push(gatherRows.lower(ctx.target, label, { table, labels, y }, { by }));
      }
    }
  }
}

/**
 * Lowers fused operations in order.
 * @param dtype of intermediate values and packed weights
 * @param outputs values that are read from outside
 */
export function lowerOps(
  ops: readonly FusedOp[],
  target: Target,
  dtype: Exclude<DType, "u32">,
  outputs: ReadonlySet<Value> = new Set(),
): Lowered {
  const ctx = new Context(target, dtype);
  const lowering = new Lowering(ctx);
  let list = ops;
  if (ctx.byLanes) {
    const norms = new Set(ops.flatMap((op) => (op.op === "norm" && appliesWhole(op) ? [op.affine] : [])));
    const host = ({ view, stride }: FusedConv) =>
      view.affine !== undefined && norms.has(view.affine) && !view.upsample && stride === 1;
    list = mergeShortcuts(ops, outputs, (op) => host(op) && !usesWinograd(op, target));
  }
  for (const op of list) lowering.lower(op);
  return { calls: ctx.calls, recipes: ctx.recipes.list };
}

/** Fuses and lowers a graph. @throws ShapeError when sizes disagree */
export const lowerGraph = (graph: Graph, target: Target): Lowered =>
  lowerOps(fold(graph), target, graph.dtype, new Set(graph.outputs));
