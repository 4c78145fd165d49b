/** Operations on one value as ONNX, evaluated by onnxruntime, against f64. */
import { expect, test } from "vitest";
import { OnnxBuilder } from "../../bench/onnx/builder.ts";
import { encodeOnnx } from "../../bench/onnx/encode.ts";
import { writeNode } from "../../bench/onnx/operations.ts";
import { Tensors } from "../../bench/onnx/tensors.ts";
import { Graph } from "../../src/kernels/graph.ts";
import type { Node } from "../../src/kernels/operations/table.ts";
import { tensorsOf } from "../reference/inputs.ts";
import { nmse, type RefTensor, tensor } from "../reference/tensor.ts";
import { evaluateOnnx } from "../support/onnxruntime.ts";
import { pointwiseRows } from "../support/pointwise.ts";

const [N, H, W, C] = [2, 3, 5, 6];

/** [N, H, W, C] as [N, C, H, W]. */
function planes({ shape, data }: RefTensor): RefTensor {
  const [n, h, w, c] = shape as [number, number, number, number];
  const at = (image: number, channel: number, pixel: number) => (image * h * w + pixel) * c + channel;
  const of = (i: number) => at(Math.floor(i / (c * h * w)), Math.floor(i / (h * w)) % c, i % (h * w));
  return tensor([n, c, h, w], (i) => data[of(i)] as number);
}

test.each(pointwiseRows)("%s", async (op, { f64, parts }) => {
  const x = tensorsOf(op)([N, H, W, parts * C], { scale: 2 });
  const graph = new Graph("f32", "buffer");
  const input = graph.value("x", [H, W, parts * C], new Array(parts).fill(C));
  const y = graph[op]("test", input);
  const builder = new OnnxBuilder("f32");
  const tensors = new Tensors(builder);
  tensors.set(input, "image", "sample");
  writeNode({ builder, tensors, style: "expanded" }, graph.nodes[0] as Node);
  builder.rename(tensors.name(y, "image"), "output");
  const port = (name: string, channels: number) => ({ name, type: "f32", shape: [channels, H, W] }) as const;
  const inputs = [port("sample", parts * C), { name: "timestep", type: "i64", shape: [] }] as const;
  const described = { builder, batch: N, inputs, outputs: [port("output", C)] };
  const bytes = await encodeOnnx(described, async () => new Float32Array());
  const { shape, data } = planes(x);
  const sample = { shape, data: Float32Array.from(data) };
  const made = await evaluateOnnx(bytes, { sample, timestep: [0, 0] });
  expect(nmse(made.data, planes(f64(x)).data)).toBeLessThanOrEqual(1e-12);
});
