/**
 * From fused operations to kernel calls for a target: the choice of kernels and the intermediate values they need. On
 * software adapters a convolution's view is materialised (`normalise`, `apply`), then gathered; on GPUs it is read
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
import { type Activation, type AttentionNode, type Graph, isParam } from "../runtime/graph.ts";
import type { Kernel, KernelCall, Target } from "../runtime/kernel.ts";
import { ceilDiv, channelGroups, type DType, makeValue, type Value } from "../runtime/values.ts";
import { add } from "./add.ts";
import { apply } from "./apply.ts";
import { attentionMethod, attentionScores, attentionSoftmax, attentionValues, pixels } from "./attention/products.ts";
import { attention } from "./attention/streaming.ts";
import { codebookLookup } from "./codebook.ts";
import { gpuConv } from "./conv2d/choice.ts";
import { convFused, convPartial } from "./conv2d/fused.ts";
import { convGather } from "./conv2d/gather.ts";
import { convImage, IMAGE_PIXELS, IMAGE_VECTORS } from "./conv2d/image.ts";
import type { GemmFlags } from "./conv2d/implicitGemm.ts";
import { convMatrix, convMatrixPartial, type MatrixFlags } from "./conv2d/matrix.ts";
import { convSum } from "./conv2d/sum.ts";
import { tilesOf, usesWinograd } from "./conv2d/winograd/choice.ts";
import { winogradInput } from "./conv2d/winograd/input.ts";
import { winogradOutput } from "./conv2d/winograd/output.ts";
import { winogradProduct } from "./conv2d/winograd/product.ts";
import { PRODUCTS } from "./conv2d/winograd/transforms.ts";
import { fillAffine } from "./fill.ts";
import { geglu } from "./geglu.ts";
import { chunkCount, groupNormAffine, groupNormStats } from "./groupNorm.ts";
import { fillsVectors, groupNormLanes, normalise } from "./groupNormLanes.ts";
import { layerNorm } from "./layerNorm.ts";
import { type ConvSection, type Recipe, Recipes } from "./recipes.ts";
import { gatherRows } from "./rows.ts";
import { mergeShortcuts } from "./shortcuts.ts";

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
  readonly #materialised = new Map<string, Value>();
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

  /** A norm's view written out, and behind it the sources of a shortcut. */
  #normalise(label: string, norm: FusedNorm, act: Activation, y: Value, [s, t]: readonly Value[] = []): void {
    const { a } = this.#normTensors(norm);
    const tensors = { ...this.#normTensors(norm), s: s ?? a, t: t ?? a, y };
    const copied = { S4: channelGroups(s?.segments ?? []), T4: channelGroups(t?.segments ?? []) };
    this.calls.push(normalise.lower(this.target, label, tensors, { act }, { ...this.#normScalars(norm), ...copied }));
  }

  #apply(label: string, view: View, y: Value, pool: boolean): void {
    const [a, b] = view.sources;
    const norm = view.affine && this.#pending.get(view.affine);
    if (norm && !view.upsample && !pool) return this.#normalise(label, norm, view.act, y);
    if (norm) {
      this.#pending.delete(norm.affine);
      const tensors = { ...this.#normTensors(norm), affine: norm.affine };
      this.calls.push(groupNormLanes.lower(this.target, norm.label, tensors, {}, this.#normScalars(norm)));
    }
    const flags = { act: view.act, upsample: view.upsample, pool };
    this.calls.push(apply.lower(this.target, label, { a, b, affine: view.affine, y }, flags));
  }

  /** The view written out; convolutions that read alike share it. */
  #materialise(label: string, view: View): Value {
    const key = viewKey(view);
    const found = this.#materialised.get(key);
    if (found) return found;
    const scale = view.upsample ? 2 : 1;
    const [h, w] = view.sources[0].shape as [number, number];
    const segments = viewSegments(view);
    const shape = [h * scale, w * scale, segments.reduce((s, c) => s + c, 0)];
    const y = this.#intermediate(`${label}.input`, shape, segments, this.dtype);
    this.#apply(label, view, y, false);
    this.#materialised.set(key, y);
    return y;
  }

  /** The norm that a convolution reads, when it is to be written out for it alone together with a shortcut. */
  #shortcutInput({ label, view, shortcut }: FusedConv): Value {
    const norm = this.#pending.get(view.affine as Value) as FusedNorm;
    const segments = viewSegments(view);
    const sources = (shortcut as NonNullable<FusedConv["shortcut"]>).sources;
    const all = [...segments, ...sources.flatMap((s) => [...s.segments])];
    const [h, w] = view.sources[0].shape as [number, number];
    const y = this.#intermediate(`${label}.input`, [h, w, all.reduce((s, c) => s + c, 0)], all, this.dtype);
    this.#normalise(label, norm, view.act, y, sources);
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

  /** One product: `x` holds channels of the weights from `first` on, then maybe the sources of a shortcut. */
  #gather(op: FusedConv, x: Value, first: number, up = 0): void {
    const { label, weights, kernel, pad, emb, residual, shortcut, y } = op;
    const added = shortcut?.sources.flatMap((s) => [...s.segments]) ?? [];
    const own = x.segments.slice(0, x.segments.length - added.length);
    const sections: ConvSection[] = [{ weights, kernel, segments: own, first }];
    if (shortcut) sections.push({ weights: shortcut.weights, kernel: [1, 1], segments: added });
    const w = this.recipes.conv(label, sections, this.target.lanes);
    const bias = this.recipes.bias(label, weights, shortcut?.weights);
    const [H, W] = x.shape as [number, number];
    const [PT, PL, PB, PR] = pad;
    const sizes = { H, W, C4: channelGroups(own), S4: channelGroups(added), PT, PL, PB, PR, UP: up };
    const tensors = { x, w, bias, emb: emb?.table ?? x, residual: residual ?? x, y };
    this.calls.push(convGather.lower(this.target, label, tensors, {}, { ...this.#convScalars(op), ...sizes }));
  }

  /** Winograd's three kernels; `x` is the whole plain input. */
  #winograd(op: FusedConv, x: Value, up: number): void {
    const { label, weights, kernel, pad, emb, residual, y } = op;
    const [H, W] = x.shape as [number, number];
    const { lanes } = this.target;
    const [TY, TX] = tilesOf(op);
    const tiles = { TY, TX, TP: ceilDiv(TY * TX, lanes) * lanes, C4: channelGroups(x.segments) };
    const stored = (name: string, segments: readonly number[]) =>
      this.#intermediate(
        `${label}.${name}`,
        [PRODUCTS, tiles.TP, segments.reduce((s, c) => s + c, 0)],
        segments,
        "f32",
      );
    const [v, m] = [stored("patches", x.segments), stored("products", y.segments)];
    const input = { ...tiles, H, W, PT: pad[0], PL: pad[1], UP: up };
    this.calls.push(winogradInput.lower(this.target, label, { x, v }, {}, input));
    const w = this.recipes.conv(label, [{ weights, kernel, segments: x.segments }], lanes, true);
    const rows = tiles.TP <= 16 ? 16 : 32;
    const product = { ...tiles, O4: channelGroups(y.segments) };
    this.calls.push(winogradProduct.lower(this.target, label, { v, w, m }, { rows }, product));
    const bias = this.recipes.bias(label, weights);
    const tensors = { m, bias, emb: emb?.table ?? m, residual: residual ?? m, y };
    this.calls.push(winogradOutput.lower(this.target, label, tensors, {}, { ...this.#convScalars(op), ...tiles }));
  }

  /** A small image's norm that a convolution reads, where one kernel can do both. */
  #imageNorm({ view, kernel, stride, pad, shortcut, y }: FusedConv): FusedNorm | undefined {
    const norm = view.affine && this.#pending.get(view.affine);
    const [h, w] = view.sources[0].shape as [number, number];
    const vectors = channelGroups([
      ...viewSegments(view),
      ...(shortcut?.sources.flatMap((s) => [...s.segments]) ?? []),
    ]);
    const same = y.shape[0] === h && y.shape[1] === w && stride === 1 && !view.upsample;
    const small = h * w <= IMAGE_PIXELS && h * w * vectors <= IMAGE_VECTORS && kernel[0] * kernel[1] > 1;
    const stored = view.sources.every((s) => s.storage === this.target.storage);
    return norm && !norm.emb && view.act !== "none" && same && small && stored && pad[0] < h ? norm : undefined;
  }

  #imageConv(op: FusedConv, norm: FusedNorm): void {
    const { label, view, weights, kernel, pad, emb, residual, shortcut, y } = op;
    const [a, b] = view.sources;
    const [s, t] = shortcut?.sources ?? [];
    const sections: ConvSection[] = [{ weights, kernel, segments: viewSegments(view) }];
    const added = shortcut?.sources.flatMap((v) => [...v.segments]) ?? [];
    if (shortcut) sections.push({ weights: shortcut.weights, kernel: [1, 1], segments: added });
    const w = this.recipes.conv(label, sections, this.target.lanes);
    const bias = this.recipes.bias(label, weights, shortcut?.weights);
    const { gamma, beta } = this.#normTensors(norm);
    const sources = { a, b: b ?? a, s: s ?? a, t: t ?? a };
    const tensors = { ...sources, gamma, beta, w, bias, emb: emb?.table ?? a, residual: residual ?? a, y };
    const width = (v?: Value) => channelGroups(v?.segments ?? []);
    const [H, W] = a.shape as [number, number];
    const [PT, PL, PB, PR] = pad;
    const sizes = { H, W, PT, PL, PB, PR, CA4: width(a), CB4: width(b), S4: width(s), T4: width(t) };
    const scalars = { ...this.#convScalars(op), ...sizes, GROUPS: norm.groups, EPS: norm.eps };
    this.calls.push(convImage.lower(this.target, label, tensors, { act: view.act }, scalars));
  }

  #gatherConv(op: FusedConv): void {
    const { label, view, kernel, weights, y } = op;
    const [a, b] = view.sources;
    const up = view.upsample ? 1 : 0;
    if (usesWinograd(op, this.target)) {
      const whole = isPlain({ ...view, upsample: false }) ? a : this.#materialise(label, { ...view, upsample: false });
      return this.#winograd(op, whole, up);
    }
    const norm = this.#imageNorm(op);
    if (norm) return this.#imageConv(op, norm);
    if (op.shortcut) return this.#gather(op, this.#shortcutInput(op), 0);
    // A source in another storage than the rest would be a pipeline of its own.
    const reads = !view.affine && view.act === "none" && a.storage === this.target.storage;
    if (b && reads && !view.upsample && kernel[0] * kernel[1] === 1) {
      // A product over two sources is the sum of two products: cheaper than writing the concatenation out first.
      const partial = this.#intermediate(`${label}.partial`, y.shape, y.segments, "f32");
      this.#gather({ ...op, label: `${label}.partial`, emb: undefined, scale: 1, y: partial }, a, 0);
      const unbiased = weights.map(({ weight, segments }) => ({ weight, segments }));
      this.#gather({ ...op, weights: unbiased, residual: partial }, b, a.shape.at(-1) as number);
      return;
    }
    this.#gather(op, reads && !b ? a : this.#materialise(label, { ...view, upsample: false }), 0, up);
  }

  #conv(op: FusedConv): void {
    if (this.target.lanes > 0 && this.target.software) return this.#gatherConv(op);
    const { label, view, weights, kernel, pad, emb, residual, y } = op;
    const sections = [{ weights, kernel, segments: viewSegments(view) }];
    const w = this.recipes.conv(label, sections, channelGroups(y.segments));
    const [a, b] = view.sources;
    const bias = this.recipes.bias(label, weights);
    const inputs = { a, b, affine: view.affine, w };
    const finishing = { bias, emb: emb?.table ?? bias, residual: residual ?? a, y };
    const scalars = { ...this.#convScalars(op), PT: pad[0], PL: pad[1] };
    const { rows, splits } = gpuConv(op, this.target, this.dtype);
    const flags = { act: view.act, upsample: view.upsample, split: splits > 1 };
    const product = (
      tensors: Record<string, Value | undefined>,
      whole: Kernel<GemmFlags>,
      units: Kernel<MatrixFlags>,
    ) =>
      rows
        ? units.lower(this.target, label, tensors, { ...flags, rows }, scalars)
        : whole.lower(this.target, label, tensors, flags, scalars);
    if (splits === 1) {
      this.calls.push(product({ ...inputs, ...finishing }, convFused, convMatrix));
      return;
    }
    const partial = this.#intermediate(`${label}.partial`, [splits, ...y.shape], y.segments, "f32");
    this.calls.push(
      product({ ...inputs, y: partial }, convPartial, convMatrixPartial),
      convSum.lower(this.target, label, { partial, ...finishing }, {}, scalars),
    );
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

  #attention(op: AttentionNode): void {
    const { label, q, kv, y, heads, headDim, kGroup, vGroup } = op;
    const scalars = { QO: 0, KO: kGroup, VO: vGroup, HEADS: heads, SCALE: 1 / Math.sqrt(headDim) };
    const d4 = ceilDiv(headDim, 4);
    const method = this.target.software && this.target.lanes > 0 ? attentionMethod(op, this.target) : undefined;
    if (method !== "products") {
      this.calls.push(attention.lower(this.target, label, { q, kv, y }, { d4 }, scalars, method));
      return;
    }
    const [LQ, LK] = [pixels(q), pixels(kv)];
    const sizes = { ...scalars, D4: d4, LK4: ceilDiv(LK, 4) };
    const matrix = (name: string) => this.#intermediate(`${label}.${name}`, [heads, LQ, LK], [LK], "f32");
    const [s, p] = [matrix("scores"), matrix("probabilities")];
    const inverse = this.#intermediate(`${label}.inverse`, [heads, LQ, 1], [1], "f32");
    this.calls.push(
      attentionScores.lower(this.target, label, { q, kv, s }, {}, sizes),
      attentionSoftmax.lower(this.target, label, { s, p, inverse }, {}, { ...sizes, LQ, LK }),
      attentionValues.lower(this.target, label, { p, inverse, kv, y }, {}, sizes),
    );
  }

  #materialiseInto({ label, view, pool, y }: FusedApply): void {
    this.#apply(label, view, y, pool);
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
      case "attention":
        return this.#attention(op);
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

/** Norms that are applied where they are measured, for one consumer after the other. */
function* wholeNorms(ops: readonly FusedOp[]): Generator<Value> {
  for (const op of ops)
    if (op.op === "norm") {
      const segments = op.sources.flatMap((s) => [...s.segments]);
      if (fillsVectors(segments, op.groups)) yield op.affine;
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
  const lowering = new Lowering(target, dtype);
  let list = ops;
  if (target.software && target.lanes > 0) {
    const norms = new Set(wholeNorms(ops));
    const host = ({ view, stride }: FusedConv) =>
      view.affine !== undefined && norms.has(view.affine) && !view.upsample && stride === 1;
    list = mergeShortcuts(ops, outputs, (op) => host(op) && !usesWinograd(op, target));
  }
  for (const op of list) lowering.lower(op);
  return { calls: lowering.calls, recipes: lowering.recipes.list };
}

/** Fuses and lowers a graph. @throws ShapeError when sizes disagree */
export const lowerGraph = (graph: Graph, target: Target): Lowered =>
  lowerOps(fold(graph), target, graph.dtype, new Set(graph.outputs));
