/**
 * ONNX files (onnx.proto3 through onnx-buf): a described graph with its weights, which are read one at a time, inside of
 * the file or, because protobuf ends at 2 GiB, in a second one beside it.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import {
  GraphProtoSchema,
  ModelProtoSchema,
  OperatorSetIdProtoSchema,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "onnx-buf";
import type { ParamRef } from "../../src/kernels/weights.ts";
import { f32ToF16 } from "../../src/weights/convert.ts";
import { elementBytes, elementTypes, type Initializer } from "./builder.ts";
import type { Port } from "./inputs.ts";
import type { OnnxGraph } from "./network.ts";

const IR_VERSION = 10n;
const OPSET = 21n;
/** Where tensors begin in a file of weights, so that it can be mapped into memory. */
const ALIGNMENT = 4096;

/** The values of a parameter, in the order of its shape. */
export type ReadParam = (param: ParamRef, signal?: AbortSignal) => Promise<Float32Array<ArrayBuffer>>;

export interface EncodeOptions {
  /** A second file for the weights: its name, as the first one spells it, and where its bytes go. */
  readonly external?: { readonly location: string; readonly write: (bytes: Uint8Array) => void };
  readonly producerVersion?: string;
  readonly signal?: AbortSignal;
}

const count = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1);

/** Bytes that the weights take in a file. */
export function weightBytes({ builder }: OnnxGraph): number {
  return [...builder.initializers.values()].reduce((sum, { type, dims }) => sum + count(dims) * elementBytes[type], 0);
}

/**
 * The bytes of a model.onnx.
 * @throws FileError when a weight cannot be read; the signal's reason
 */
export async function encodeOnnx(graph: OnnxGraph, read: ReadParam, options: EncodeOptions = {}): Promise<Uint8Array> {
  const { builder, batch, inputs, outputs } = graph;
  const initializer: TensorProto[] = [];
  let offset = 0;
  for (const constant of builder.initializers.values()) {
    options.signal?.throwIfAborted();
    const bytes = await readConstant(constant, read, options.signal);
    const { name, type } = constant;
    const tensor = create(TensorProtoSchema, { name, dataType: elementTypes[type], dims: constant.dims.map(BigInt) });
    initializer.push(tensor);
    // Known numbers are what shapes are inferred from, and stay.
    if (!options.external || "values" in constant) {
      tensor.rawData = bytes;
      continue;
    }
    const { location, write } = options.external;
    write(bytes);
    const padding = -bytes.byteLength & (ALIGNMENT - 1);
    write(new Uint8Array(padding));
    tensor.dataLocation = TensorProto_DataLocation.EXTERNAL;
    tensor.externalData = Object.entries({ location, offset, length: bytes.byteLength }).map(([key, value]) =>
      create(StringStringEntryProtoSchema, { key, value: String(value) }),
    );
    offset += bytes.byteLength + padding;
  }
  const model = create(ModelProtoSchema, {
    irVersion: IR_VERSION,
    opsetImport: [create(OperatorSetIdProtoSchema, { domain: "", version: OPSET })],
    producerName: "ddim-webgpu",
    producerVersion: options.producerVersion ?? "",
    graph: create(GraphProtoSchema, {
      name: "unet",
      node: builder.nodes,
      initializer,
      input: inputs.map((port) => valueInfo(port, batch)),
      output: outputs.map((port) => valueInfo(port, batch)),
    }),
  });
  return toBinary(ModelProtoSchema, model);
}

function valueInfo({ name, type, shape }: Port, batch: number | null): ValueInfoProto {
  const dim = [batch ?? "batch", ...shape].map((size) =>
    create(TensorShapeProto_DimensionSchema, {
      value: typeof size === "number" ? { case: "dimValue", value: BigInt(size) } : { case: "dimParam", value: size },
    }),
  );
  const value = create(TypeProto_TensorSchema, {
    elemType: elementTypes[type],
    shape: create(TensorShapeProtoSchema, { dim }),
  });
  return create(ValueInfoProtoSchema, {
    name,
    type: create(TypeProtoSchema, { value: { case: "tensorType", value } }),
  });
}

/** The little-endian bytes of a constant. */
async function readConstant(
  constant: Initializer,
  read: ReadParam,
  signal?: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = (array: BigInt64Array<ArrayBuffer> | Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>) =>
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  if ("values" in constant && constant.type === "i64") return bytes(BigInt64Array.from(constant.values.map(BigInt)));
  const values = "values" in constant ? Float32Array.from(constant.values) : await readWeight(constant, read, signal);
  return bytes(constant.type === "f16" ? f32ToF16(values) : values);
}

async function readWeight(
  { param, transposed }: Extract<Initializer, { param: unknown }>,
  read: ReadParam,
  signal?: AbortSignal,
): Promise<Float32Array<ArrayBuffer>> {
  const values = await read(param, signal);
  if (!transposed) return values;
  const [outputs, inputs] = param.shape as [number, number];
  const out = new Float32Array(values.length);
  for (let o = 0; o < outputs; o++)
    for (let i = 0; i < inputs; i++) out[i * outputs + o] = values[o * inputs + i] as number;
  return out;
}
