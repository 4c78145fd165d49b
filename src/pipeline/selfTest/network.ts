/** The self-test of what networks are made of: texture access, convolution, GroupNorm, attention. */
import { Graph } from "../../kernels/graph.ts";
import { lowerGraph } from "../../kernels/lower.ts";
import { targetFor } from "../../kernels/target.ts";
import type { WeightSpec } from "../../kernels/weights.ts";
import type { Device } from "../../runtime/device.ts";
import { defineKernel, type Methods } from "../../runtime/kernel.ts";
import type { Value } from "../../runtime/values.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { exact, H, N, nmse, normals, type Outcome, PIXELS, run, value, W } from "./harness.ts";

/** Channels, output channels of the convolution, heads. */
const [C, O, HEADS] = [16, 8, 2];
const TEXELS = 4096;

const copy = defineKernel({
  name: "copy",
  tensors: { x: "in *", y: "out *" },
  variants: [
    {
      name: "direct",
      workgroup: (target) => target.lanes || 32,
      grid: (_dims, _batch, workgroup) => [TEXELS / workgroup, 1, 1],
      wgsl: (k) => wgsl`
${k.header}
@compute @workgroup_size(${k.workgroup})
fn main(@builtin(global_invocation_id) id: vec3u) { ${k.store("y", "id.x", k.load("x", "id.x"))} }`,
    },
  ],
  cost: () => ({ flops: 0, bytes: 32 * TEXELS }),
});

/**
 * llvmpipe with LP_NATIVE_VECTOR_WIDTH=512 loads the channels of rgba32float textures in the wrong places, for which
 * reason nothing is stored in textures there (kernels/target.ts).
 */
export async function textures(device: Device): Promise<Outcome> {
  if (targetFor(device).storage !== "texture") return { ok: true, detail: "none are used" };
  const [x, t, y] = (["buffer", "texture", "buffer"] as const).map((storage, i) =>
    value(`texels ${i}`, [TEXELS * 4], { storage, batched: false }),
  ) as [Value, Value, Value];
  const data = Float32Array.from({ length: TEXELS * 4 }, (_, i) => i);
  const calls = [
    copy.lower(targetFor(device), "store", { x, y: t }, {}),
    copy.lower(targetFor(device), "load", { x: t, y }, {}),
  ];
  const [result] = await run(device, { calls, weights: [], batch: 1, inputs: new Map([[x, data]]), outputs: [y] });
  return exact(new Float32Array(result as ArrayBuffer), data);
}

/** One operation on x as a graph of its own, against f64. */
async function network(
  device: Device,
  x: Float32Array,
  params: Readonly<Record<string, Float32Array>>,
  build: (graph: Graph, x: Value) => Value,
  expected: Float64Array,
  dtype: "f32" | "f16" = "f32",
  methods?: Methods,
): Promise<Outcome> {
  const target = targetFor(device, methods);
  const graph = new Graph(dtype, target.storage);
  const input = value("x", [H, W, x.length / PIXELS]);
  const y = graph.output(build(graph, input));
  const [result] = await run(device, {
    ...lowerGraph(graph, target),
    batch: N,
    inputs: new Map([[input, x]]),
    outputs: [y],
    params,
  });
  return nmse(new Float32Array(result as ArrayBuffer), expected, dtype === "f16" ? 2e-5 : 1e-10);
}

/** An operation in every way that the device's target may choose by size: what fails, else the last. */
async function inEveryWay(
  device: Device,
  further: readonly Methods[],
  check: (methods?: Methods) => Promise<Outcome>,
): Promise<Outcome> {
  let outcome = await check();
  for (const methods of targetFor(device).lanes > 0 ? further : []) if (outcome.ok) outcome = await check(methods);
  return outcome;
}

/** SiLU, then a 3×3 convolution with zero padding. */
export function convolution(device: Device, dtype: "f32" | "f16"): Promise<Outcome> {
  const [x, w, b] = [normals(0, PIXELS * C), normals(1, O * C * 9).map((v) => v / 12), normals(2, O)];
  const expected = Float64Array.from({ length: PIXELS * O }, (_, at) => {
    const [o, px, py, n] = [at % O, Math.floor(at / O) % W, Math.floor(at / (O * W)) % H, Math.floor(at / (O * W * H))];
    let sum = b[o] as number;
    for (let tap = 0; tap < 9; tap++) {
      const [sy, sx] = [py + Math.floor(tap / 3) - 1, px + (tap % 3) - 1];
      if (sy < 0 || sx < 0 || sy >= H || sx >= W) continue;
      for (let c = 0; c < C; c++) {
        const v = x[((n * H + sy) * W + sx) * C + c] as number;
        sum += (v / (1 + Math.exp(-v))) * (w[(o * C + c) * 9 + tap] as number);
      }
    }
    return sum;
  });
  const spec: WeightSpec = {
    weight: { name: "w", shape: [O, C, 3, 3] },
    bias: { name: "b", shape: [O] },
    segments: [O],
  };
  const options = { kernel: [3, 3], pad: [1, 1, 1, 1], dtype: "f32" } as const;
  const build = (g: Graph, v: Value) => g.conv2d("conv", g.activation("act", v, "silu"), [spec], options);
  return inEveryWay(device, [{ conv2d: "winograd" }], (methods) =>
    network(device, x, { w, b }, build, expected, dtype, methods),
  );
}

export function groupNorm(device: Device): Promise<Outcome> {
  const [groups, eps, size] = [4, 1e-5, C / 4];
  const [x, gamma, beta] = [normals(3, PIXELS * C).map((v) => v + 10), normals(4, C), normals(5, C)];
  const expected = Float64Array.from(x);
  for (let n = 0; n < N; n++)
    for (let g = 0; g < groups; g++) {
      const at = Array.from(
        { length: H * W * size },
        (_, i) => (n * H * W + Math.floor(i / size)) * C + g * size + (i % size),
      );
      const mean = at.reduce((sum, i) => sum + (x[i] as number), 0) / at.length;
      const variance = at.reduce((sum, i) => sum + ((x[i] as number) - mean) ** 2, 0) / at.length;
      for (const i of at)
        expected[i] =
          (((x[i] as number) - mean) / Math.sqrt(variance + eps)) * (gamma[i % C] as number) + (beta[i % C] as number);
    }
  const param = (name: string) => ({ name, shape: [C] });
  const init = { gamma: param("gamma"), beta: param("beta"), groups, eps };
  return network(device, x, { gamma, beta }, (g, v) => g.groupNorm("norm", v, init), expected);
}

export function attention(device: Device): Promise<Outcome> {
  const [width, d, length] = [3 * C, C / HEADS, H * W];
  const x = normals(6, PIXELS * width);
  const expected = new Float64Array(PIXELS * C);
  for (let n = 0; n < N; n++)
    for (let head = 0; head < C; head += d)
      for (let i = 0; i < length; i++) {
        const at = (pixel: number, part: number, e: number) =>
          x[(n * length + pixel) * width + part * C + head + e] as number;
        const scores = Array.from({ length }, (_, j) => {
          let dot = 0;
          for (let e = 0; e < d; e++) dot += at(i, 0, e) * at(j, 1, e);
          return Math.exp(dot / Math.sqrt(d));
        });
        const total = scores.reduce((a, b) => a + b);
        for (let e = 0; e < d; e++)
          expected[(n * length + i) * C + head + e] = scores.reduce((sum, s, j) => sum + s * at(j, 2, e), 0) / total;
      }
  const init = { heads: HEADS, headDim: d, kGroup: C / 4, vGroup: C / 2 };
  const build = (g: Graph, v: Value) => g.attention("attention", { q: v, kv: v, ...init });
  return inEveryWay(device, [{ attention: "products" }, { attention: "broadcast" }], (methods) =>
    network(device, x, {}, build, expected, "f32", methods),
  );
}
