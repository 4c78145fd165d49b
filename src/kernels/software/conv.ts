/** Convolutions for software adapters: the choice between the gather kernel, Winograd's method and whole small images. */
import { ceilDiv, channelGroups, type Value } from "../../runtime/values.ts";
import type { ConvNode } from "../conv2d/node.ts";
import { convScalars, type Lowering, segmentsOf } from "../lowering/lowering.ts";
import { type NormNode, Norms } from "../lowering/norms.ts";
import { isPlain } from "../operations/node.ts";
import { bias as biasOf, packed, type Section } from "../weights.ts";
import { convGather, type GatherFlags } from "./convGather.ts";
import { convImage, IMAGE_PIXELS, IMAGE_VECTORS } from "./convImage.ts";
import { columnBlocks } from "./outerProduct.ts";
import { tilesOf, usesWinograd, winogradWeight } from "./winograd/choice.ts";
import { winogradInput } from "./winograd/input.ts";
import { winogradOutput } from "./winograd/output.ts";
import { winogradProduct } from "./winograd/product.ts";
import { PRODUCTS } from "./winograd/transforms.ts";

/** Channels of a small image from which on half-empty blocks of pixels cost more than one more pipeline. */
const MANY_GROUPS = 64;

/** Pixels, and blocks of channels by which they are multiplied, of a workgroup: most that leave work for two threads. */
function gatherTile(x: Value, y: Value, lanes: number): GatherFlags {
  const pixels = (y.shape[0] as number) * (y.shape[1] as number);
  // Vectors, such as embeddings: few pixels even of large batches.
  if (pixels === 1) return { pixels: Math.max(8, lanes), blocks: 1 };
  const tile = pixels <= 16 && channelGroups(x.segments) >= MANY_GROUPS ? 16 : 32;
  return { pixels: tile, blocks: columnBlocks(channelGroups(y.segments), lanes, ceilDiv(pixels, tile)) };
}

export class SubgroupConvs {
  private readonly norms: Norms;

  constructor(private readonly lowering: Lowering) {
    this.norms = lowering.shared(Norms);
  }

  /** Weights and bias of a convolution over channels `first` and on of its tensors, then of its shortcut. */
  #weights({ label, weights, kernel, shortcut }: ConvNode, segments: readonly number[], first = 0) {
    const sections: Section[] = [{ weights, kernel, segments, first }];
    if (shortcut) {
      sections.push({ weights: shortcut.weights, kernel: [1, 1], segments: segmentsOf(shortcut.sources) });
      // A sum cannot be taken apart where another size wants the two.
      for (const own of [weights, shortcut.weights]) this.lowering.weight(biasOf(label, own));
    }
    return {
      w: this.lowering.weight(packed(label, sections, this.lowering.target.lanes, this.lowering)),
      bias: this.lowering.weight(biasOf(label, weights, shortcut?.weights)),
    };
  }

  /** One product: `x` holds channels of the weights from `first` on, then maybe the sources of a shortcut. */
  #gather(op: ConvNode, x: Value, first: number, up = 0): void {
    const { label, pad, emb, residual, shortcut, y } = op;
    const added = segmentsOf(shortcut?.sources);
    const own = x.segments.slice(0, x.segments.length - added.length);
    const [H, W] = x.shape as [number, number];
    const [PT, PL, PB, PR] = pad;
    const sizes = { H, W, C4: channelGroups(own), S4: channelGroups(added), PT, PL, PB, PR, UP: up };
    const tensors = { x, ...this.#weights(op, own, first), emb: emb?.table ?? x, residual: residual ?? x, y };
    const { lanes } = this.lowering.target;
    this.lowering.calls.push(
      convGather.lower(this.lowering.target, label, tensors, gatherTile(x, y, lanes), { ...convScalars(op), ...sizes }),
    );
  }

  /** Winograd's three kernels; `x` is the whole plain input. */
  #winograd(op: ConvNode, x: Value, up: number): void {
    const { label, weights, pad, emb, residual, y } = op;
    const [H, W] = x.shape as [number, number];
    const { lanes } = this.lowering.target;
    const [TY, TX] = tilesOf(op);
    const tiles = { TY, TX, TP: ceilDiv(TY * TX, lanes) * lanes, C4: channelGroups(x.segments) };
    const stored = (name: string, segments: readonly number[]) =>
      this.lowering.intermediate(
        `${label}.${name}`,
        [PRODUCTS, tiles.TP, segments.reduce((s, c) => s + c, 0)],
        segments,
        "f32",
      );
    const [v, m] = [stored("patches", x.segments), stored("products", y.segments)];
    const input = { ...tiles, H, W, PT: pad[0], PL: pad[1], UP: up };
    this.lowering.calls.push(winogradInput.lower(this.lowering.target, label, { x, v }, {}, input));
    const w = this.lowering.weight(winogradWeight(op, this.lowering.target));
    const perWorkgroup = tiles.TP <= 16 ? 16 : 32;
    const blocks = columnBlocks(channelGroups(y.segments), lanes, PRODUCTS);
    const product = { ...tiles, O4: channelGroups(y.segments) };
    this.lowering.calls.push(
      winogradProduct.lower(this.lowering.target, label, { v, w, m }, { tiles: perWorkgroup, blocks }, product),
    );
    const bias = this.lowering.weight(biasOf(label, weights));
    const tensors = { m, bias, emb: emb?.table ?? m, residual: residual ?? m, y };
    this.lowering.calls.push(
      winogradOutput.lower(this.lowering.target, label, tensors, {}, { ...convScalars(op), ...tiles }),
    );
  }

  /** A small image's norm that a convolution reads, where one kernel can do both. */
  #imageNorm({ view, kernel, stride, pad, shortcut, y }: ConvNode): NormNode | undefined {
    const norm = this.norms.waiting(view);
    const [h, w] = view.sources[0].shape as [number, number];
    const vectors = channelGroups(segmentsOf([...view.sources, ...(shortcut?.sources ?? [])]));
    const same = y.shape[0] === h && y.shape[1] === w && stride === 1 && !view.upsample;
    const small = h * w <= IMAGE_PIXELS && h * w * vectors <= IMAGE_VECTORS && kernel[0] * kernel[1] > 1;
    const stored = view.sources.every((s) => s.storage === this.lowering.target.storage);
    return norm && !norm.emb && view.act !== "none" && same && small && stored && pad[0] < h ? norm : undefined;
  }

  #imageConv(op: ConvNode, norm: NormNode): void {
    const { label, view, pad, emb, residual, shortcut, y } = op;
    const [a, b] = view.sources;
    const [s, t] = shortcut?.sources ?? [];
    const { gamma, beta } = this.norms.normTensors(norm);
    const weights = this.#weights(op, segmentsOf(view.sources));
    const sources = { a, b: b ?? a, s: s ?? a, t: t ?? a };
    const tensors = { ...sources, gamma, beta, ...weights, emb: emb?.table ?? a, residual: residual ?? a, y };
    const width = (v?: Value) => channelGroups(v?.segments ?? []);
    const [H, W] = a.shape as [number, number];
    const [PT, PL, PB, PR] = pad;
    const sizes = { H, W, PT, PL, PB, PR, CA4: width(a), CB4: width(b), S4: width(s), T4: width(t) };
    const scalars = { ...convScalars(op), ...sizes, GROUPS: norm.groups, EPS: norm.eps };
    const blocks = columnBlocks(channelGroups(y.segments), this.lowering.target.lanes, 1);
    this.lowering.calls.push(convImage.lower(this.lowering.target, label, tensors, { act: view.act, blocks }, scalars));
  }

  lower(op: ConvNode): void {
    const { label, view, kernel, weights, y } = op;
    const [a, b] = view.sources;
    const up = view.upsample ? 1 : 0;
    if (usesWinograd(op, this.lowering.target)) {
      const whole = isPlain({ ...view, upsample: false })
        ? a
        : this.norms.materialise(label, { ...view, upsample: false });
      return this.#winograd(op, whole, up);
    }
    const norm = this.#imageNorm(op);
    if (norm) return this.#imageConv(op, norm);
    if (op.shortcut) return this.#gather(op, this.norms.shortcutInput(op), 0);
    // A source in another storage than the rest would be a pipeline of its own.
    const reads = !view.affine && view.act === "none" && a.storage === this.lowering.target.storage;
    if (b && reads && !view.upsample && kernel[0] * kernel[1] === 1) {
      // A product over two sources is the sum of two products: cheaper than writing the concatenation out first.
      const partial = this.lowering.intermediate(`${label}.partial`, y.shape, y.segments, "f32");
      this.#gather({ ...op, label: `${label}.partial`, emb: undefined, scale: 1, y: partial }, a, 0);
      const unbiased = weights.map(({ weight, segments }) => ({ weight, segments }));
      this.#gather({ ...op, weights: unbiased, residual: partial }, b, a.shape.at(-1) as number);
      return;
    }
    this.#gather(op, reads && !b ? a : this.norms.materialise(label, { ...view, upsample: false }), 0, up);
  }
}
