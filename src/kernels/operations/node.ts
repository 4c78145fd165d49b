/** Operations on particular values, and reading a value in another way than it lies in memory. */
import type { Value } from "../../runtime/values.ts";
import type { Activation } from "../parts/activations.ts";

/** An operation on particular values. */
export interface NodeBase {
  /** The operation's name. */
  readonly op: string;
  /** The operation; absent: that of this name in the table. */
  readonly operation?: unknown;
  /** Module path of the layer. */
  readonly label: string;
  /** The result. */
  readonly y: Value;
}

/** How a consumer reads: act(affine(concat(sources))), then nearest ×2. */
export interface View {
  readonly sources: readonly [Value] | readonly [Value, Value];
  readonly affine?: Value;
  readonly act: Activation;
  readonly upsample: boolean;
}

export const plain = (value: Value): View => ({ sources: [value], act: "none", upsample: false });

/** Whether a view is just the value itself. */
export const isPlain = (view: View): boolean =>
  view.sources.length === 1 && !view.affine && view.act === "none" && !view.upsample;

/** Writes a view out, for those who cannot read through it. */
export interface ApplyNode extends NodeBase {
  readonly op: "apply";
  readonly view: View;
  /** Over the view: the mean of 2×2 pixels. */
  readonly pool: boolean;
}

/** Height, width and channels of an image. */
export const hwc = (value: Value) => value.shape as unknown as readonly [number, number, number];
