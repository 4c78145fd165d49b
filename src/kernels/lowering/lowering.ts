/** What all parts of the lowering share: the calls so far, the weights they want, and where values lie. */
import type { KernelCall, Target } from "../../runtime/kernel.ts";
import { channelGroups, type DType, makeValue, type Value } from "../../runtime/values.ts";
import type { ConvNode, EmbRef } from "../conv2d/node.ts";
import { usesSubgroups } from "../software/subgroups.ts";
import { keyOf, type Weight } from "../weights.ts";

export class Lowering {
  readonly calls: KernelCall[] = [];
  readonly weights = new Map<string, Weight>();
  readonly #shared = new Map<unknown, unknown>();

  constructor(
    readonly target: Target,
    /** Element type of intermediate values and packed weights. */
    readonly dtype: Exclude<DType, "u32">,
  ) {}

  /** Whether kernels of one subgroup, free of barriers, do the work. */
  get bySubgroups(): boolean {
    return usesSubgroups(this.target);
  }

  /** What the operations of a graph share, made when it is first asked for. */
  shared<T>(kind: new (lowering: Lowering) => T): T {
    const found = (this.#shared.get(kind) as T | undefined) ?? new kind(this);
    this.#shared.set(kind, found);
    return found;
  }

  /** The value that is bound for a weight: the same one, however often it is asked for. */
  weight(wanted: Weight): Value {
    const key = keyOf(wanted);
    const found = this.weights.get(key) ?? wanted;
    this.weights.set(key, found);
    return found.value;
  }

  intermediate(name: string, shape: readonly number[], segments: readonly number[], dtype: DType): Value {
    return makeValue({ name, shape, batched: true, dtype, storage: this.target.storage, segments });
  }
}

/** Segments of several values side by side. */
export const segmentsOf = (values: readonly Value[] = []): number[] => values.flatMap((v) => [...v.segments]);

/** Where a layer's embedding lies in its table: E4 vec4s of an entry, the layer's from EO on. */
export const embPlace = (emb?: EmbRef) => ({
  E4: emb ? channelGroups(emb.table.segments) : 0,
  EO: emb?.group ?? 0,
});

export function convScalars({ kernel, stride, emb, residual, scale }: ConvNode) {
  return {
    KH: kernel[0],
    KW: kernel[1],
    STRIDE: stride,
    ...embPlace(emb),
    USE_EMB: emb ? 1 : 0,
    USE_RESIDUAL: residual ? 1 : 0,
    SCALE: scale,
  };
}
