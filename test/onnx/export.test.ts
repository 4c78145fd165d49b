/** `ddim bench export`: the files it writes, what is in them, and what it refuses. */
import { mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema, type ValueInfoProto } from "onnx-buf";
import { describe, expect, test } from "vitest";
import { OnnxBuilder } from "../../bench/onnx/builder.ts";
import { exportGraph, toOnnx } from "../../bench/onnx/export.ts";
import { writeNode } from "../../bench/onnx/operations.ts";
import { Tensors } from "../../bench/onnx/tensors.ts";
import { Graph } from "../../src/kernels/graph.ts";
import { folderSource } from "../../src/node/folder.ts";
import { createPipeline } from "../../src/pipeline/load.ts";
import { openModel } from "../../src/pipeline/model.ts";
import { ConfigError } from "../../src/runtime/errors.ts";
import { initialNoise } from "../../src/sampler/philox.ts";
import { nmse } from "../reference/tensor.ts";
import { ddim, scratchFolder } from "../support/cli.ts";
import { testDevice } from "../support/gpu.ts";
import { goldenPath, readEvaluation } from "../support/models.ts";
import { evaluateOnnx } from "../support/onnxruntime.ts";
import { memorySource } from "../weights/memory-source.ts";

const scratch = scratchFolder();
const ddpm = goldenPath("models/ddpm");
const evaluation = readEvaluation(join(ddpm, "io.safetensors"));

const read = (path: string) => fromBinary(ModelProtoSchema, readFileSync(path));
const describePort = ({ name, type }: ValueInfoProto) => {
  if (type?.value.case !== "tensorType") throw new TypeError(`${name} is no tensor`);
  const { elemType, shape } = type.value.value;
  return [name, elemType, ...(shape?.dim.map(({ value }) => value.value) ?? [])];
};

test("writes a file that onnxruntime evaluates like the network, and says what it has written", async () => {
  const path = join(scratch, "ddpm.onnx");
  for (const style of ["native", "expanded"]) {
    const { code, stdout, stderr } = await ddim([
      "bench",
      "export",
      "-m",
      ddpm,
      "-o",
      path,
      "--batch",
      "2",
      "--style",
      style,
    ]);
    expect([code, stdout]).toEqual([0, ""]);
    expect(stderr).toMatch(/ddpm\.onnx: \d+ nodes, \d+ initializers, .*inputs sample \[2, 3, 32, 32\], timestep \[2\]/);
    const { inputs, output } = await evaluation;
    expect(nmse((await evaluateOnnx(path, inputs)).data, output.data)).toBeLessThanOrEqual(1e-10);
    const { graph } = read(path);
    const kinds = new Set(graph?.node.map(({ opType }) => opType));
    expect([kinds.has("GroupNormalization"), kinds.has("InstanceNormalization")]).toEqual([
      style === "native",
      style === "expanded",
    ]);
  }
});

test("names inputs and outputs like PyTorch's exporter, opset 21", async () => {
  const path = join(scratch, "adm.onnx");
  const flags = ["--size", "16x32", "--batch", "any"];
  const { code } = await ddim(["bench", "export", "-m", goldenPath("models/adm"), "-o", path, ...flags, "-q"]);
  expect(code).toBe(0);
  const model = read(path);
  expect(model.opsetImport.map(({ domain, version }) => [domain, version])).toEqual([["", 21n]]);
  const [FLOAT, INT64] = [1, 7];
  expect(model.graph?.input.map(describePort)).toEqual([
    ["sample", FLOAT, "batch", 3n, 16n, 32n],
    ["timestep", INT64, "batch"],
    ["class_labels", INT64, "batch"],
  ]);
  expect(model.graph?.output.map(describePort)).toEqual([["output", FLOAT, "batch", 6n, 16n, 32n]]);
});

test("a context has the length asked for", async () => {
  const path = join(scratch, "sd1.onnx");
  const flags = ["-m", goldenPath("models/sd1"), "-o", path, "--context-length", "7", "-q"];
  expect((await ddim(["bench", "export", ...flags])).code).toBe(0);
  expect(read(path).graph?.input.map(describePort).at(-1)).toEqual(["encoder_hidden_states", 1, 1n, 7n, 32n]);
});

test("keeps the weights in a second file where asked to", async () => {
  const folder = join(scratch, "external");
  mkdirSync(folder);
  const path = join(folder, "m.onnx");
  const { code } = await ddim(["bench", "export", "-m", ddpm, "-o", path, "--batch", "2", "--external-data", "-q"]);
  expect(code).toBe(0);
  expect(readdirSync(folder).sort()).toEqual(["m.onnx", "m.onnx.data"]);
  expect(statSync(path).size).toBeLessThan(statSync(`${path}.data`).size / 2);
  const { inputs } = await evaluation;
  const inside = await toOnnx(await openModel(folderSource(ddpm)), { batch: 2 });
  expect((await evaluateOnnx(path, inputs)).data).toEqual((await evaluateOnnx(inside, inputs)).data);
});

test("float16 keeps inputs and outputs in float32", async () => {
  const { inputs, output } = await evaluation;
  const model = await openModel(folderSource(ddpm));
  const bytes = await toOnnx(model, { batch: 2, dtype: "f16" });
  expect(bytes.byteLength).toBeLessThan((await toOnnx(model, { batch: 2 })).byteLength * 0.6);
  const error = nmse((await evaluateOnnx(bytes, inputs)).data, output.data);
  expect(error).toBeLessThanOrEqual(2e-5);
  expect(error).toBeGreaterThan(1e-9);
});

test("finds the weights of another layout: q, k and v interleaved by heads in one tensor", async () => {
  const config = {
    image_size: 16,
    num_channels: 32,
    num_res_blocks: 1,
    channel_mult: "1,2",
    attention_resolutions: "8",
    num_heads: 4,
    class_cond: true,
    learn_sigma: true,
    use_scale_shift_norm: true,
    resblock_updown: true,
  };
  const model = await openModel(memorySource({ "config.json": JSON.stringify(config) }), { randomWeights: 3n });
  expect(model.layout).toBe("openai");
  const data = initialNoise(1n, 0, 3, 16, 16);
  const inputs = { sample: { shape: [1, 3, 16, 16], data }, timestep: [321], classLabels: [7] };
  using pipe = await createPipeline(model, { device: await testDevice(), dtype: "f32" });
  const ours = await pipe.network.forward(inputs);
  expect(nmse(ours.data, (await evaluateOnnx(await toOnnx(model), inputs)).data)).toBeLessThanOrEqual(1e-10);
});

describe("refuses", () => {
  for (const [what, flags, message] of [
    ["a size that the levels cannot halve", ["--size", "17"], /size 17×17: height must be a multiple of/],
    ["a size that is none", ["--size", "8x"], /--size .* is invalid: expected a side such as 64/],
    ["no images", ["--batch", "0"], /expected a whole number from 1/],
    ["another style", ["--style", "torch"], /Allowed choices are expanded, native/],
  ] as const)
    test(what, async () => {
      const outcome = await ddim(["bench", "export", "-m", ddpm, "-o", join(scratch, "no.onnx"), ...flags]);
      expect(outcome.code).toBe(2);
      expect(outcome.stderr).toMatch(message);
      expect(readdirSync(scratch)).not.toContain("no.onnx");
    });

  test("a file that cannot be written", async () => {
    const outcome = await ddim(["bench", "export", "-m", ddpm, "-o", join(scratch, "missing/no.onnx")]);
    expect([outcome.code, outcome.devices]).toEqual([1, 0]);
    expect(outcome.stderr).toMatch(/there is no folder/);
  });

  test("kinds of layers that have no form in ONNX, by their names", () => {
    const graph = new Graph("f32", "buffer");
    const x = graph.value("x", [4, 4, 8]);
    graph.lookup("quantize", x, { name: "codebook", shape: [16, 8] }, graph.value("indices", [4, 4]));
    const builder = new OnnxBuilder("f32");
    const writing = { builder, tensors: new Tensors(builder), style: "native" } as const;
    const write = () => writeNode(writing, graph.nodes[0]!);
    expect(write).toThrow(ConfigError);
    expect(write).toThrow(/quantize: lookup: this kind of layer cannot be exported/);
  });
});

test("a graph reads every parameter of its network, and no other", async () => {
  for (const name of ["ddpm", "adm", "classtimestep", "sdxl"]) {
    const model = await openModel(folderSource(goldenPath(`models/${name}`)));
    const { builder } = exportGraph(model);
    const used = new Set([...builder.initializers.values()].flatMap((c) => ("param" in c ? [c.param.name] : [])));
    expect([...used].sort()).toEqual([...model.checkpoint.tensors.keys()].sort());
  }
});
