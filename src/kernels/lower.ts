/**
 * From fused operations to kernel calls for a target: the choice of kernels and the intermediate values they need. On
 * software adapters a convolution's view is materialised with its padding (`apply`), then gathered; on GPUs it is read
 * through the load map. Nothing here depends on the batch size.
 */
import {
  type FusedApply,
  type FusedConv,
  type FusedNorm,
  type FusedOp,
  fold,
  isPlain,
  type View,
} from "../runtime/fold.ts";
import { type Graph, isParam, type Padding } from "../runtime/graph.ts";
import type { KernelCall, Target } from "../runtime/kernel.ts";
import { ceilDiv, channelGroups, type DType, makeValue, type Value } from "../runtime/values.ts";
import { add } from "./add.ts";
import { apply } from "./apply.ts";
import { attention } from "./attention.ts";
import { codebookLookup } from "./codebook.ts";
import { convFused } from "./conv2d/fused.ts";
import { convGather } from "./conv2d/gather.ts";
import { fillAffine } from "./fill.ts";
import { geglu } from "./geglu.ts";
import { chunkCount, groupNormAffine, groupNormStats } from "./groupNorm.ts";
import { fillsVectors, groupNormLanes, normalise } from "./groupNormLanes.ts";
import { layerNorm } from "./layerNorm.ts";
import { type Recipe, Recipes } from "./recipes.ts";
import { gatherRows } from "./rows.ts";

export interface Lowered {
  readonly calls: readonly KernelCall[];
  readonly recipes: readonly Recipe[];
}

const viewSegments = (view: View): number[] => view.sources.flatMap((s) => [...s.segments]);
const viewKey = (view: View): string =>
  `${view.sources.map((s) => s.id)} ${view.affine?.id} ${view.act} ${view.upsample}`;

class Lowering {
  readonly calls: KernelCall[] = [];
  readonly recipes: Recipes;
  readonly #padded = new Map<string, Value>();
  readonly #stats = new Map<Value, Value>();
  /** Norms that wait for their consumer: most can be applied where they are measured. */
  readonly #pending = new Map<Value, FusedNorm>();

  constructor(
    private readonly target: Target,
    private readonly dtype: Exclude<DType, "u32">,
  ) {
    this.recipes = new Recipes(target, dtype);
  }

  #intermediate(name: string, shape: readonly number[], segments: readonly number[], dtype: DType): Value {
    return makeValue({ name, shape, batched: true, dtype, storage: this.target.storage, segments });
  }

  #apply(label: string, view: View, y: Value, pool: boolean, pad: Padding): void {
    const [a, b] = view.sources;
    const norm = view.affine && this.#pending.get(view.affine);
    if (norm && !view.upsample && !pool) {
      const scalars = { ...this.#normScalars(norm), PT: pad[0], PL: pad[1] };
      this.calls.push(
        normalise.lower(this.target, label, { ...this.#normTensors(norm), y }, { act: view.act }, scalars),
      );
      return;
    }
    if (norm) {
      this.#pending.delete(norm.affine);
      const tensors = { ...this.#normTensors(norm), affine: norm.affine };
      this.calls.push(groupNormLanes.lower(this.target, norm.label, tensors, {}, this.#normScalars(norm)));
    }
    const flags = { act: view.act, upsample: view.upsample, pool };
    this.calls.push(
      apply.lower(this.target, label, { a, b, affine: view.affine, y }, flags, { PT: pad[0], PL: pad[1] }),
    );
  }

  /** The view written out with a zero border; convolutions that read alike share it. */
  #materialise(label: string, view: View, pad: Padding): Value {
    const key = `${viewKey(view)} ${pad.join()}`;
    const found = this.#padded.get(key);
    if (found) return found;
    const scale = view.upsample ? 2 : 1;
    const [h, w] = view.sources[0].shape as [number, number];
    const segments = viewSegments(view);
    const shape = [h * scale + pad[0] + pad[2], w * scale + pad[1] + pad[3], segments.reduce((s, c) => s + c, 0)];
    const y = this.#intermediate(`${label}.input`, shape, segments, this.dtype);
    this.#apply(label, view, y, false, pad);
    this.#padded.set(key, y);
    return y;
  }

  #convScalars({ kernel, stride, emb, residual, scale }: FusedConv) {
    return {
      KH: kernel[0],
      KW: kernel[1],
      STRIDE: stride,
      E4: emb ? channelGroups(emb.table.segments) : 0,
      EO: emb?.group ?? 0,
      USE_EMB: emb ? 1 : 0,
      USE_RESIDUAL: residual ? 1 : 0,
      SCALE: scale,
    };
  }

  /** One product: the channels of `x` are those of the weights from `first` on. */
  #gather(op: FusedConv, x: Value, first: number): void {
    const { label, weights, kernel, emb, residual, y } = op;
    const w = this.recipes.conv(label, weights, kernel, x.segments, this.target.lanes, first);
    const tensors = { x, w, bias: this.recipes.bias(label, weights), emb: emb?.table ?? x, residual: residual ?? x, y };
    this.calls.push(convGather.lower(this.target, label, tensors, {}, this.#convScalars(op)));
  }

  #gatherConv(op: FusedConv): void {
    const { label, view, kernel, pad, weights, y } = op;
    const [a, b] = view.sources;
    const reads = pad.every((p) => p === 0) && isPlain({ ...view, sources: [a] });
    if (b && reads && kernel[0] * kernel[1] === 1) {
      // A product over two sources is the sum of two products: cheaper than writing the concatenation out first.
      const partial = this.#intermediate(`${label}.partial`, y.shape, y.segments, "f32");
      this.#gather({ ...op, label: `${label}.partial`, emb: undefined, scale: 1, y: partial }, a, 0);
      const unbiased = weights.map(({ weight, segments }) => ({ weight, segments }));
      this.#gather({ ...op, weights: unbiased, residual: partial }, b, a.shape.at(-1) as number);
      return;
    }
    this.#gather(op, reads && !b ? a : this.#materialise(label, view, pad), 0);
  }

  #conv(op: FusedConv): void {
    if (this.target.lanes > 0 && this.target.software) return this.#gatherConv(op);
    const { label, view, weights, kernel, pad, emb, residual, y } = op;
    const w = this.recipes.conv(label, weights, kernel, viewSegments(view), channelGroups(y.segments));
    const bias = this.recipes.bias(label, weights);
    const [a, b] = view.sources;
    const tensors = { a, b, affine: view.affine, w, bias, emb: emb?.table ?? bias, residual: residual ?? a, y };
    const flags = { act: view.act, upsample: view.upsample };
    const scalars = { ...this.#convScalars(op), PT: pad[0], PL: pad[1] };
    this.calls.push(convFused.lower(this.target, label, tensors, flags, scalars));
  }

  /** Statistics of a value; a skip connection is measured once for both norms that read it. */
  #measure(label: string, x: Value): Value {
    const found = this.#stats.get(x);
    if (found) return found;
    const [h, w, c] = x.shape as [number, number, number];
    const stats = this.#intermediate(`${x.name}.stats`, [chunkCount(h * w), 2, c], x.segments, "f32");
    this.calls.push(groupNormStats.lower(this.target, label, { x, stats }, {}));
    this.#stats.set(x, stats);
    return stats;
  }

  #normScalars({ sources, groups, eps, emb }: FusedNorm) {
    const [h, w] = sources[0].shape as [number, number];
    const row = { E4: emb ? channelGroups(emb.table.segments) : 0, EO: emb?.group ?? 0 };
    return { GROUPS: groups, EPS: eps, PIXELS: h * w, ...row };
  }

  #normTensors({ sources: [a, b], gamma, beta, emb }: FusedNorm) {
    return { a, b, gamma: this.recipes.vector(gamma), beta: this.recipes.vector(beta), emb: emb?.table };
  }

  #norm(norm: FusedNorm): void {
    const { label, sources, groups, affine } = norm;
    const segments = sources.flatMap((s) => [...s.segments]);
    if (this.target.software && this.target.lanes > 0 && fillsVectors(segments, groups)) {
      this.#pending.set(affine, norm);
      return;
    }
    const { gamma, beta, emb } = this.#normTensors(norm);
    const [sa, sb] = sources.map((s) => this.#measure(label, s));
    const tensors = { sa, sb, gamma, beta, emb, positions: this.recipes.positions(segments), affine };
    this.calls.push(groupNormAffine.lower(this.target, label, tensors, {}, this.#normScalars(norm)));
  }

  #materialiseInto({ label, view, pool, y }: FusedApply): void {
    this.#apply(label, view, y, pool, [0, 0, 0, 0]);
  }

  lower(op: FusedOp): void {
    switch (op.op) {
      case "conv":
        return this.#conv(op);
      case "norm":
        return this.#norm(op);
      case "apply":
        return this.#materialiseInto(op);
      case "fill": {
        const { label, scale, shift, affine } = op;
        this.calls.push(fillAffine.lower(this.target, label, { affine }, {}, { SCALE: scale, SHIFT: shift }));
        return;
      }
      case "add": {
        const { label, a, b, y, scale } = op;
        this.calls.push(add.lower(this.target, label, { a, b, y }, {}, { SCALE: scale }));
        return;
      }
      case "layerNorm": {
        const { label, x, gamma, beta, eps, y } = op;
        const tensors = { x, gamma: this.recipes.vector(gamma), beta: this.recipes.vector(beta), y };
        this.calls.push(layerNorm.lower(this.target, label, tensors, {}, { EPS: eps }));
        return;
      }
      case "geglu": {
        this.calls.push(geglu.lower(this.target, op.label, { x: op.x, y: op.y }, {}));
        return;
      }
      case "attention": {
        const { label, q, kv, y, heads, headDim, kGroup, vGroup } = op;
        const scalars = { QO: 0, KO: kGroup, VO: vGroup, HEADS: heads, SCALE: 1 / Math.sqrt(headDim) };
        this.calls.push(attention.lower(this.target, label, { q, kv, y }, { d4: ceilDiv(headDim, 4) }, scalars));
        return;
      }
      case "lookup": {
        const { label, x, indices, y } = op;
        const tensors = { x, table: this.recipes.table(op.table), indices, y };
        this.calls.push(codebookLookup.lower(this.target, label, tensors, {}));
        return;
      }
      case "rows": {
        const { label, by, labels, y } = op;
        const table = isParam(op.table) ? this.recipes.table(op.table) : op.table;
        this.calls.push(gatherRows.lower(this.target, label, { table, labels, y }, { by }));
      }
    }
  }
}

/** Lowers fused operations in order. `dtype`: of intermediate values and packed weights. */
export function lowerOps(ops: readonly FusedOp[], target: Target, dtype: Exclude<DType, "u32">): Lowered {
  const lowering = new Lowering(target, dtype);
  for (const op of ops) lowering.lower(op);
  return { calls: lowering.calls, recipes: lowering.recipes.list };
}

/** Fuses and lowers a graph. @throws ShapeError when sizes disagree */
export const lowerGraph = (graph: Graph, target: Target): Lowered => lowerOps(fold(graph), target, graph.dtype);
