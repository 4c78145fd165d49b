/**
 * Fusion: one pass over the plain graph. Concatenation, GroupNorm, activation and upsampling become a *view*, which the
 * consumer reads through; additions of the time embedding, of a residual, and a scale move into the epilogue of the
 * convolution that made the value. Whatever cannot be taken along is written out by an `apply`. This is what has been
 * fused so far; which of it an operation does to itself, its own file says.
 */
import { makeValue, type Storage, type Value } from "../../runtime/values.ts";
import type { ConvNode } from "../conv2d/node.ts";
import { type ApplyNode, type NodeBase, plain, type View } from "./node.ts";

export class Fusion {
  readonly nodes: NodeBase[] = [];
  readonly #views = new Map<Value, View>();
  readonly #convs = new Map<Value, ConvNode>();

  constructor(
    private readonly storage: Storage,
    /** How often every value of the graph is read, outputs once more. */
    private readonly uses: ReadonlyMap<Value, number>,
  ) {}

  push<N extends NodeBase>(node: N): void {
    this.nodes.push(node);
  }

  /** How a value is to be read. */
  view(value: Value): View {
    return this.#views.get(value) ?? plain(value);
  }

  /** Makes reading `y` mean reading through the view. */
  see(y: Value, view: View): void {
    this.#views.set(y, view);
  }

  /** The value itself, written by an `apply` first if it is still a view. `at`: where among the nodes to put that. */
  stored(value: Value, at = this.nodes.length): Value {
    const view = this.#views.get(value);
    if (!view) return value;
    this.#views.delete(value);
    const apply: ApplyNode = { op: "apply", label: value.name, view, pool: false, y: value };
    this.nodes.splice(at, 0, apply);
    return value;
  }

  /** A view of `x` for something to come on top; of what is written first, where that cannot come on top of its view. */
  nest(x: Value, fits: (view: View) => boolean): View {
    const view = this.view(x);
    return fits(view) ? view : plain(this.stored(x));
  }

  /** Makes `y` the view of `x` with an affine map on it. @returns the view, and in it the value that will hold the map */
  map({ label, x, y }: NodeBase & { x: Value }): View & { affine: Value } {
    const view = this.nest(x, ({ affine, act, upsample }) => !affine && act === "none" && !upsample);
    const affine = makeValue({
      name: `${label}.affine`,
      shape: [2, x.shape.at(-1) as number],
      batched: true,
      dtype: "f32",
      storage: this.storage,
      segments: x.segments,
    });
    const mapped = { ...view, affine };
    this.see(y, mapped);
    return mapped;
  }

  /** Adds a convolution, whose epilogue may still change. */
  convolve(conv: ConvNode): void {
    this.push(conv);
    this.#convs.set(conv.y, conv);
  }

  /** The convolution that made a value and may still change its epilogue: nobody else reads the value. */
  open(value: Value): ConvNode | undefined {
    const conv = this.#convs.get(value);
    return conv && this.uses.get(value) === 1 && conv.scale === 1 ? conv : undefined;
  }

  /** A second run of the convolution that made a value, for a value that is an output besides. */
  again(value: Value): ConvNode | undefined {
    const conv = this.#convs.get(value);
    if (!conv) return undefined;
    const again = { ...conv };
    this.push(again);
    return again;
  }

  /** Makes `y` what a convolution computes, now that its epilogue has changed. */
  close(conv: ConvNode, y: Value): void {
    this.#convs.delete(conv.y);
    conv.y = y;
    this.#convs.set(y, conv);
  }

  /** Whether everything that a value is read from is there before node `at`. */
  ready(value: Value, at: number): boolean {
    const { sources, affine } = this.view(value);
    return [...sources, affine].every((v) => !v || this.nodes.findIndex(({ y }) => y === v) < at);
  }
}
