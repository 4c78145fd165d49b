/**
 * Weights as kernels read them: parameters of a network in a form. A lowering lists those that it reads; what fills them
 * is not its matter: a checkpoint (load.ts), or other forms of the same parameters (derive.ts).
 */
import type { Target } from "../runtime/kernel.ts";
import {
  ceilDiv,
  channelGroups,
  channelPositions,
  type DType,
  makeValue,
  padded4,
  type Value,
} from "../runtime/values.ts";
import { PRODUCTS } from "./software/winograd/transforms.ts";

/** A tensor of the checkpoint with the shape that the configuration implies. */
export interface ParamRef {
  readonly name: string;
  readonly shape: readonly number[];
}

/** One weight of a convolution or linear layer; `segments` cuts its outputs (heads, scale and shift) for storage. */
export interface WeightSpec {
  readonly weight: ParamRef;
  readonly bias?: ParamRef;
  readonly segments: readonly number[];
}

/** Where a parameter lies in packed weights (the layout is that of conv2d/contract.ts). */
export interface PackedPlace {
  /** Its outputs, and the first of their groups. */
  readonly outputs: readonly number[];
  readonly group: number;
  /** Its inputs, and which channel of the parameter they begin with. */
  readonly inputs: readonly number[];
  readonly first: number;
  readonly taps: number;
  /** First position in a block. */
  readonly at: number;
}

export interface PackedForm {
  /** `winograd`: 3×3 filters as Winograd's 36 products. */
  readonly kind: "packed" | "winograd";
  /** Output groups of a block. */
  readonly block: number;
  /** Positions of a block: taps × channels of all sections. */
  readonly span: number;
  readonly places: readonly PackedPlace[];
}

/** Padded vectors side by side (biases, norm weights): the sums of the parameters that lie in the same place. */
export interface VectorForm {
  readonly kind: "vector";
  /** Of the whole; zeros where nothing lies. */
  readonly segments: readonly number[];
  readonly places: readonly { readonly at: number; readonly segments: readonly number[] }[];
}

export type Form =
  | PackedForm
  | VectorForm
  /** An embedding table [R, C], entries padded to a multiple of four. */
  | { readonly kind: "table" }
  /** No parameter: for GroupNorm, the channel of every position, then the position of every channel. */
  | { readonly kind: "positions"; readonly segments: readonly number[] };

/** Parameters in a form, which places them in this order, and the value that a lowering binds for them. */
export interface Weight<F extends Form = Form> {
  readonly params: readonly (ParamRef & {
    /** Of a tensor that holds others as well, once it is known where a checkpoint has the parameter. */
    readonly channels?: readonly number[];
  })[];
  readonly form: F;
  readonly value: Value;
}

export const isPacked = (weight: Weight): weight is Weight<PackedForm> =>
  weight.form.kind === "packed" || weight.form.kind === "winograd";

/** A collection's key for the same parameters in the same form: collections compare texts, not contents. */
export const keyOf = ({ params, form }: Weight): string => JSON.stringify([params.map(({ name }) => name), form]);

/** Each once: networks and their convolutions share weights. */
export const distinct = (weights: Iterable<Weight>): Map<string, Weight> =>
  new Map([...weights].map((weight) => [keyOf(weight), weight]));

/** Weights over some input channels: `segments` of the input, which are channels `first` and on of the tensors. */
export interface Section {
  readonly weights: readonly WeightSpec[];
  readonly kernel: readonly [number, number];
  readonly segments: readonly number[];
  readonly first?: number;
}

/**
 * Packed weights of sections that follow each other in every block, all with the same outputs.
 * @param stored the target, and in which type; Winograd's are f32 always: their transforms would enlarge the rounding of f16
 */
export function packed(
  label: string,
  sections: readonly Section[],
  block: number,
  stored: { readonly target: Pick<Target, "storage">; readonly dtype: Exclude<DType, "u32"> },
  kind: PackedForm["kind"] = "packed",
): Weight<PackedForm> {
  let span = 0;
  let groups = 0;
  const places: PackedPlace[] = [];
  for (const { weights, kernel, segments: inputs, first = 0 } of sections) {
    const taps = kind === "winograd" ? PRODUCTS : kernel[0] * kernel[1];
    groups = 0;
    for (const { segments: outputs } of weights) {
      places.push({ outputs, group: groups, inputs, first, taps, at: span });
      groups += channelGroups(outputs);
    }
    span += taps * channelGroups(inputs) * 4;
  }
  const value = makeValue({
    name: `${label}.${kind}${sections.length > 1 ? "+shortcut" : ""}`,
    shape: [ceilDiv(groups, block) * block * span * 4],
    batched: false,
    dtype: kind === "winograd" ? "f32" : stored.dtype,
    storage: stored.target.storage,
  });
  const params = sections.flatMap(({ weights }) => weights.map(({ weight }) => weight));
  return { params, form: { kind, block, span, places }, value };
}

const constant = (name: string, shape: readonly number[], dtype: DType, segments?: readonly number[]): Value =>
  makeValue({ name, shape, batched: false, dtype, storage: "buffer", segments });

/** Biases of a convolution, in stored positions; those of `added`, a convolution into the same outputs, on top. */
export function bias(
  label: string,
  weights: readonly WeightSpec[],
  added: readonly WeightSpec[] = [],
): Weight<VectorForm> {
  const segments = weights.flatMap((weight) => weight.segments);
  const width = segments.reduce((a, b) => a + b, 0);
  const params: ParamRef[] = [];
  const places: { at: number; segments: readonly number[] }[] = [];
  let at = 0;
  for (const [i, weight] of weights.entries()) {
    for (const param of [weight.bias, added[i]?.bias])
      if (param) {
        params.push(param);
        places.push({ at, segments: weight.segments });
      }
    at += channelGroups(weight.segments) * 4;
  }
  const name = `${label}.bias${added.length > 0 ? "+shortcut" : ""}`;
  return { params, form: { kind: "vector", segments, places }, value: constant(name, [width], "f32", segments) };
}

/** A vector in channel order. */
export function vector(param: ParamRef): Weight<VectorForm> {
  const { name, shape: segments } = param;
  const form = { kind: "vector", segments, places: [{ at: 0, segments }] } as const;
  return { params: [param], form, value: constant(name, segments, "f32") };
}

export function table(param: ParamRef): Weight {
  const value = constant(param.name, param.shape, "f32");
  return { params: [param], form: { kind: "table" }, value };
}

export function positions(segments: readonly number[]): Weight {
  const name = `positions ${segments.join()}`;
  const count = channelGroups(segments) * 4 + segments.reduce((a, b) => a + b, 0);
  return { params: [], form: { kind: "positions", segments }, value: constant(name, [count], "u32") };
}

/** Marks a stored position that holds no channel. */
export const NO_CHANNEL = 0xffffffff;

/** Channel of every stored position of some segments that begin at channel `first`, {@link NO_CHANNEL} for padding. */
export function positionChannels(segments: readonly number[], first = 0): Uint32Array<ArrayBuffer> {
  const channels = new Uint32Array(channelGroups(segments) * 4).fill(NO_CHANNEL);
  channelPositions(segments).forEach((position, channel) => {
    channels[position] = first + channel;
  });
  return channels;
}

/** What the parameters of unpacked weights make: `read` gives a parameter's values. */
export function contents({ params, form }: Weight, read: (name: string) => Float32Array): ArrayBufferView {
  if (form.kind === "positions")
    return new Uint32Array([...positionChannels(form.segments), ...channelPositions(form.segments)]);
  const [first] = params;
  if (form.kind === "table" && first) {
    const [entries, width] = first.shape as [number, number];
    const values = read(first.name);
    const out = new Float32Array(entries * padded4(width));
    for (let i = 0; i < entries; i++) out.set(values.subarray(i * width, (i + 1) * width), i * padded4(width));
    return out;
  }
  const out = new Float32Array(form.kind === "vector" ? channelGroups(form.segments) * 4 : 0);
  if (form.kind === "vector")
    for (const [i, { name, channels }] of params.entries()) {
      const { at, segments } = form.places[i] as VectorForm["places"][number];
      const values = read(name);
      channelPositions(segments).forEach((p, channel) => {
        out[at + p] = (out[at + p] as number) + (values[channels?.[channel] ?? channel] as number);
      });
    }
  return out;
}
