/**
 * The graph's values as tensors of the ONNX graph. The engine's graph says nothing of axes; ONNX has to: convolutions
 * and norms of groups want images [N, C, H, W], linear layers and attention want tokens [N, H·W, C], time embeddings are
 * vectors [N, C]. A tensor is turned from one into the other where an operation asks for it, as in diffusers' own code.
 *
 * A value that several layers make side by side (q, k and v; all projections of the time embedding) stays in parts.
 */
import { channelGroups, type Value } from "../../src/runtime/values.ts";
import type { OnnxBuilder } from "./builder.ts";

export type Layout = "image" | "tokens" | "vector";

/** Some of a value's channels. */
export interface Part {
  readonly channels: number;
  /** vec4 groups that it takes in the value's storage: how the graph addresses it. */
  readonly groups: number;
  readonly height: number;
  readonly width: number;
  /** Layout in which an operation made it. */
  readonly own: Layout;
  /** Names of the tensor in every layout that was asked for so far. */
  readonly names: Partial<Record<Layout, string>>;
}

export class Tensors {
  readonly #parts = new Map<Value, readonly Part[]>();

  constructor(private readonly builder: OnnxBuilder) {}

  /** The value is the tensor of that name. */
  set(value: Value, layout: Layout, name: string): void {
    this.setParts(value, layout, [{ name, segments: value.segments }]);
  }

  /** The value is several tensors' channels, one after the other. */
  setParts(
    value: Value,
    layout: Layout,
    parts: readonly { readonly name: string; readonly segments: readonly number[] }[],
  ): void {
    const [height = 1, width = 1] = value.shape.length === 3 ? value.shape : [];
    this.#parts.set(
      value,
      parts.map(({ name, segments }) => ({
        channels: segments.reduce((a, b) => a + b, 0),
        groups: channelGroups(segments),
        height,
        width,
        own: layout,
        names: { [layout]: name },
      })),
    );
  }

  /** Makes `alias` another name of a value that is there. */
  share(alias: Value, value: Value): void {
    this.#parts.set(alias, this.#get(value));
  }

  /** The layout in which a value was made. */
  layout(value: Value): Layout {
    return (this.#get(value)[0] as Part).own;
  }

  /** For two values that are added: a layout in which both are at hand, or else images. */
  commonLayout(a: Value, b: Value): Layout {
    const layouts = [a, b].map((value) => Object.keys((this.#get(value)[0] as Part).names)) as Layout[][];
    return layouts[0]?.find((layout) => layouts[1]?.includes(layout)) ?? "image";
  }

  /** The name of the value's tensor in that layout. */
  name(value: Value, layout: Layout): string {
    const parts = this.#get(value);
    const names = parts.map((part) => this.partName(part, layout));
    if (names.length === 1) return names[0] as string;
    return this.builder.op("Concat", names, { axis: layout === "tokens" ? 2n : 1n });
  }

  /** A value whose parts are those of others, one after the other. */
  join(value: Value, values: readonly Value[]): void {
    this.#parts.set(
      value,
      values.flatMap((each) => this.#get(each)),
    );
  }

  /** The part that begins at a vec4 group of the value's storage, where one does. */
  partAt(value: Value, group: number): Part | undefined {
    let start = 0;
    for (const part of this.#get(value)) {
      if (start === group) return part;
      start += part.groups;
    }
    return undefined;
  }

  /** The part that begins at this group. */
  part(value: Value, group: number): Part {
    const part = this.partAt(value, group);
    if (part) return part;
    throw new TypeError(`internal: ${value.name}: no layer's output begins at channel group ${group}`);
  }

  partName(part: Part, layout: Layout): string {
    const known = part.names[layout];
    if (known) return known;
    const name = this.#convert(part, layout);
    part.names[layout] = name;
    return name;
  }

  #convert(part: Part, layout: Layout): string {
    const { builder } = this;
    const { channels, height, width, own } = part;
    const from = part.names[own] as string;
    const reshape = (name: string, ...shape: number[]) => builder.op("Reshape", [name, builder.ints(...shape)]);
    const swap = (name: string) => builder.op("Transpose", [name], { perm: [0, 2, 1] });
    // In a target of Reshape, 0 keeps a size (the batch) and -1 stands for what is left.
    if (own === "image" && layout === "tokens") return swap(reshape(from, 0, channels, -1));
    if (own === "tokens" && layout === "image") return reshape(swap(from), 0, channels, height, width);
    if (own === "vector" && layout === "image") return reshape(from, 0, channels, 1, 1);
    if (own === "vector" && layout === "tokens") return reshape(from, 0, 1, channels);
    throw new TypeError(`internal: ${from} is no vector`);
  }

  #get(value: Value): readonly Part[] {
    const parts = this.#parts.get(value);
    if (!parts) throw new TypeError(`internal: ${value.name} is used before it is made`);
    return parts;
  }
}
