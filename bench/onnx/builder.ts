/**
 * Collects the nodes and initializers of an ONNX graph (onnx.proto, IR version 10). Initializers are only named here;
 * their data is read when the file is written, so that a network of any size can be described.
 */
import { create } from "@bufbuild/protobuf";
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  TensorProto_DataType,
} from "onnx-buf";
import type { ParamRef } from "../../src/kernels/weights.ts";

export const elementTypes = {
  f32: TensorProto_DataType.FLOAT,
  f16: TensorProto_DataType.FLOAT16,
  i64: TensorProto_DataType.INT64,
} as const;
export type ElementType = keyof typeof elementTypes;
export const elementBytes: Readonly<Record<ElementType, number>> = { f32: 4, f16: 2, i64: 8 };

/** A constant of the graph: numbers that are known, or a parameter of the checkpoint, as it is or transposed. */
export type Initializer = { readonly name: string; readonly type: ElementType; readonly dims: readonly number[] } & (
  | { readonly values: readonly number[] }
  | { readonly param: ParamRef; readonly transposed: boolean }
);

/** bigint: INT, number: FLOAT, text: STRING, list: INTS. */
export type Attribute = bigint | number | string | readonly number[];

export class OnnxBuilder {
  readonly nodes: NodeProto[] = [];
  readonly initializers = new Map<string, Initializer>();
  readonly #names = new Set<string>();
  /** Module path of the layer that is being written; prefix of the names of its nodes. */
  scope = "";

  constructor(
    /** Element type of weights and activations. */
    readonly dtype: "f32" | "f16",
  ) {}

  /** Adds a node. @returns the name of its only output */
  op(opType: string, inputs: readonly string[], attributes: Readonly<Record<string, Attribute>> = {}): string {
    const name = this.#unique(`${this.scope}/${opType}`);
    const output = `${name}_output`;
    const attributeList = Object.entries(attributes).map(([key, value]) => attribute(key, value));
    this.nodes.push(
      create(NodeProtoSchema, { name, opType, input: [...inputs], output: [output], attribute: attributeList }),
    );
    return output;
  }

  /** Gives a tensor that no node reads another name. */
  rename(tensor: string, name: string): void {
    const node = this.nodes.find(({ output }) => output.includes(tensor));
    if (!node) throw new TypeError(`internal: no node makes ${tensor}`);
    node.output = node.output.map((output) => (output === tensor ? name : output));
  }

  /** A one-dimensional constant of int64: shapes, axes. Equal ones are one. */
  ints(...values: number[]): string {
    return this.#keep({ name: `int64[${values.join(",")}]`, type: "i64", dims: [values.length], values });
  }

  /** A constant of the activations' type, unless another is given. */
  floats(name: string, values: readonly number[], dims: readonly number[], type: ElementType = this.dtype): string {
    return this.#keep({ name, type, dims, values });
  }

  scalar(value: number): string {
    return this.floats(`scalar[${value}]`, [value], []);
  }

  /** Entries `from` (included) to `to` of an axis. */
  slice(name: string, axis: number, from: number, to: number): string {
    return this.op("Slice", [name, this.ints(from), this.ints(to), this.ints(axis)]);
  }

  /** A parameter of the checkpoint under its own name; with the given shape, or, of a matrix, transposed. */
  param(param: ParamRef, as: { dims?: readonly number[]; transposed?: boolean } = {}): string {
    const { transposed = false } = as;
    const dims = as.dims ?? (transposed ? [...param.shape].reverse() : param.shape);
    const suffix = transposed ? ".transposed" : as.dims ? `.${dims.length}d` : "";
    return this.#keep({ name: `${param.name}${suffix}`, type: this.dtype, dims, param, transposed });
  }

  #keep(initializer: Initializer): string {
    if (!this.initializers.has(initializer.name)) this.initializers.set(initializer.name, initializer);
    return initializer.name;
  }

  #unique(name: string): string {
    let unique = name;
    for (let i = 1; this.#names.has(unique); i++) unique = `${name}_${i}`;
    this.#names.add(unique);
    return unique;
  }
}

const INT = AttributeProto_AttributeType.INT;

function attribute(name: string, value: Attribute): AttributeProto {
  if (typeof value === "bigint") return create(AttributeProtoSchema, { name, type: INT, i: value });
  if (typeof value === "number")
    return create(AttributeProtoSchema, { name, type: AttributeProto_AttributeType.FLOAT, f: value });
  if (typeof value === "string") {
    const s = new TextEncoder().encode(value);
    return create(AttributeProtoSchema, { name, type: AttributeProto_AttributeType.STRING, s });
  }
  const ints = value.map(BigInt);
  return create(AttributeProtoSchema, { name, type: AttributeProto_AttributeType.INTS, ints });
}
