/** Norms and views: applied where they are measured, written out for a consumer, or left to a consumer's load map. */
import { channelGroups, type Value } from "../../runtime/values.ts";
import { apply } from "../apply.ts";
import type { ConvNode, EmbRef } from "../conv2d/node.ts";
import { chunkCount, groupNormAffine, groupNormStats } from "../groupNorm.ts";
import type { NodeBase, View } from "../operations/node.ts";
import type { Activation } from "../parts/activations.ts";
import { fillsVectors, groupNormSubgroups, normalise } from "../software/groupNorm.ts";
import { type ParamRef, positions, vector } from "../weights.ts";
import { embPlace, type Lowering, segmentsOf } from "./lowering.ts";

/** A GroupNorm over the channels of its sources together. */
export interface NormNode extends NodeBase {
  readonly op: "norm";
  readonly sources: View["sources"];
  readonly gamma: ParamRef;
  readonly beta: ParamRef;
  readonly groups: number;
  readonly eps: number;
  readonly emb?: EmbRef;
  /** Scale and shift of every channel of every image, [2, C]. */
  readonly y: Value;
}

const viewKey = (view: View): string =>
  `${view.sources.map((s) => s.id)} ${view.affine?.id} ${view.act} ${view.upsample}`;

/** Whether one kernel for software adapters can measure and apply a norm. */
export const appliesWhole = ({ sources, groups }: NormNode): boolean => fillsVectors(segmentsOf(sources), groups);

export class Norms {
  readonly #materialised = new Map<string, Value>();
  readonly #stats = new Map<Value, Value>();
  /** Norms that wait for their consumer: most can be applied where they are measured. */
  readonly #pending = new Map<Value, NormNode>();

  constructor(private readonly lowering: Lowering) {}

  /** The norm behind a view, while it waits for its consumer. */
  waiting({ affine }: View): NormNode | undefined {
    return affine && this.#pending.get(affine);
  }

  normTensors({ sources: [a, b], gamma, beta, emb }: NormNode) {
    return {
      a,
      b,
      gamma: this.lowering.weight(vector(gamma)),
      beta: this.lowering.weight(vector(beta)),
      emb: emb?.table,
    };
  }

  #normScalars({ sources, groups, eps, emb }: NormNode) {
    const [h, w] = sources[0].shape as [number, number];
    return { GROUPS: groups, EPS: eps, PIXELS: h * w, ...embPlace(emb) };
  }

  /** A norm's view written out, and behind it the sources of a shortcut. */
  #normalise(label: string, norm: NormNode, act: Activation, y: Value, [s, t]: readonly Value[] = []): void {
    const own = this.normTensors(norm);
    const tensors = { ...own, s: s ?? own.a, t: t ?? own.a, y };
    const copied = { S4: channelGroups(s?.segments ?? []), T4: channelGroups(t?.segments ?? []) };
    this.lowering.calls.push(
      normalise.lower(this.lowering.target, label, tensors, { act }, { ...this.#normScalars(norm), ...copied }),
    );
  }

  apply(label: string, view: View, y: Value, pool: boolean): void {
    const [a, b] = view.sources;
    const norm = this.waiting(view);
    if (norm && !view.upsample && !pool) return this.#normalise(label, norm, view.act, y);
    if (norm) {
      this.#pending.delete(norm.y);
      const tensors = { ...this.normTensors(norm), affine: norm.y };
      this.lowering.calls.push(
        groupNormSubgroups.lower(this.lowering.target, norm.label, tensors, {}, this.#normScalars(norm)),
      );
    }
    const flags = { act: view.act, upsample: view.upsample, pool };
    this.lowering.calls.push(apply.lower(this.lowering.target, label, { a, b, affine: view.affine, y }, flags));
  }

  /** The view written out; convolutions that read alike share it. */
  materialise(label: string, view: View): Value {
    const key = viewKey(view);
    const found = this.#materialised.get(key);
    if (found) return found;
    const scale = view.upsample ? 2 : 1;
    const [h, w] = view.sources[0].shape as [number, number];
    const segments = segmentsOf(view.sources);
    const shape = [h * scale, w * scale, segments.reduce((s, c) => s + c, 0)];
    const y = this.lowering.intermediate(`${label}.input`, shape, segments, this.lowering.dtype);
    this.apply(label, view, y, false);
    this.#materialised.set(key, y);
    return y;
  }

  /** The norm that a convolution reads, when it is to be written out for it alone together with a shortcut. */
  shortcutInput({ label, view, shortcut }: ConvNode): Value {
    const norm = this.#pending.get(view.affine as Value) as NormNode;
    const segments = segmentsOf(view.sources);
    const sources = (shortcut as NonNullable<ConvNode["shortcut"]>).sources;
    const all = [...segments, ...segmentsOf(sources)];
    const [h, w] = view.sources[0].shape as [number, number];
    const y = this.lowering.intermediate(
      `${label}.input`,
      [h, w, all.reduce((s, c) => s + c, 0)],
      all,
      this.lowering.dtype,
    );
    this.#normalise(label, norm, view.act, y, sources);
    return y;
  }

  /** Statistics of a value; a skip connection is measured once for both norms that read it. */
  #measure(label: string, x: Value): Value {
    const found = this.#stats.get(x);
    if (found) return found;
    const [h, w, c] = x.shape as [number, number, number];
    const stats = this.lowering.intermediate(`${x.name}.stats`, [chunkCount(h * w), 2, c], x.segments, "f32");
    this.lowering.calls.push(groupNormStats.lower(this.lowering.target, label, { x, stats }, {}));
    this.#stats.set(x, stats);
    return stats;
  }

  norm(norm: NormNode): void {
    const { label, sources, y: affine } = norm;
    const segments = segmentsOf(sources);
    if (this.lowering.bySubgroups && appliesWhole(norm)) {
      this.#pending.set(affine, norm);
      return;
    }
    const { gamma, beta, emb } = this.normTensors(norm);
    const [sa, sb] = sources.map((s) => this.#measure(label, s));
    const tensors = { sa, sb, gamma, beta, emb, positions: this.lowering.weight(positions(segments)), affine };
    this.lowering.calls.push(groupNormAffine.lower(this.lowering.target, label, tensors, {}, this.#normScalars(norm)));
  }
}
