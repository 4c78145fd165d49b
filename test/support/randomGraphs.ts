/** Small random networks: every operation, values read several times, several outputs. */
import fc from "fast-check";
import type { EmbRef } from "../../src/kernels/conv2d/node.ts";
import { Graph } from "../../src/kernels/graph.ts";
import { fold } from "../../src/kernels/lower.ts";
import type { ParamRef } from "../../src/kernels/weights.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { channelGroups, channelPositions, type Value } from "../../src/runtime/values.ts";
import { tensorsOf } from "../reference/inputs.ts";
import { nmse, numel, type RefTensor } from "../reference/tensor.ts";
import { Inputs, runOps } from "./gpu.ts";
import { interpret } from "./interpreter.ts";
import { pointwise, pointwiseRows } from "./pointwise.ts";

const BATCH = 2;
const KINDS = [
  "conv",
  "conv3",
  "down",
  "residual",
  "emb",
  "norm",
  "normEmb",
  "act",
  "up",
  "pool",
  "concat",
  "add",
  "center",
  "attention",
  "cross",
  "layerNorm",
  "resnet",
  ...pointwiseRows.map(([op]) => op),
] as const;

export interface GraphPlan {
  channels: number;
  steps: readonly { kind: (typeof KINDS)[number]; from: number; other: number; outputs: number; swap: boolean }[];
  taps: readonly number[];
}

export const randomGraphs: fc.Arbitrary<GraphPlan> = fc.record({
  channels: fc.constantFrom(3, 4, 6, 8),
  steps: fc.array(
    fc.record({
      kind: fc.constantFrom(...KINDS),
      // Mostly the newest values, so that chains form.
      from: fc.constantFrom(0, 0, 0, 1, 2, 5),
      other: fc.nat({ max: 6 }),
      outputs: fc.constantFrom(2, 4, 6, 8, 12),
      swap: fc.boolean(),
    }),
    { minLength: 3, maxLength: 14 },
  ),
  taps: fc.array(fc.nat({ max: 8 }), { maxLength: 2 }),
});

type Step = GraphPlan["steps"][number];

/** Turns a plan into a graph; steps that do not fit the values at hand are left out. */
class Builder {
  readonly params: Record<string, RefTensor> = {};
  readonly inputs: Inputs;
  readonly graph: Graph;
  readonly known: Value[];
  readonly #make = tensorsOf("random graph");
  readonly #context: Value;
  #count = 0;

  constructor(channels: number, target: Target) {
    this.graph = new Graph("f32", target.storage);
    this.inputs = new Inputs(target);
    this.known = [this.inputs.add("x", this.#make([BATCH, 4, 6, channels]))];
    this.#context = this.inputs.add("context", this.#make([BATCH, 1, 5, 7]));
  }

  #param(name: string, shape: readonly number[], scale: number, mean = 0): ParamRef {
    const full = `${this.#count++}.${name}`;
    this.params[full] = this.#make(shape, { scale, mean });
    return { name: full, shape };
  }

  #conv(x: Value, segments: readonly number[], kernel: number, stride = 1): Value {
    const [outputs, inputs] = [segments.reduce((a, b) => a + b, 0), x.shape[2] as number];
    const shape = [outputs, inputs, kernel, kernel];
    const weight = this.#param("w", shape, (inputs * kernel * kernel) ** -0.5);
    const bias = this.#param("b", [outputs], 0.3);
    const pad = ([1, 1, 1, 1] as const).map((p) => p * (kernel >> 1)) as [number, number, number, number];
    return this.graph.conv2d(`conv${this.#count++}`, x, [{ weight, bias, segments }], {
      kernel: [kernel, kernel],
      stride,
      pad: stride === 2 ? [0, 0, 1, 1] : pad,
    });
  }

  /** A slice of a table with something else before and after it. */
  #emb(segments: readonly number[]): EmbRef {
    const all = [5, ...segments, 3];
    const width = all.reduce((a, b) => a + b, 0);
    const table = this.inputs.add(`table${this.#count++}`, this.#make([BATCH, width], { scale: 0.5 }), {
      segments: all,
    });
    return { table, group: channelGroups([5]) };
  }

  #norm(x: Value, choice: number, emb?: EmbRef): Value | undefined {
    const c = x.shape[2] as number;
    const divisors = [1, 2, 3, 4].filter((g) => c % g === 0);
    const groups = divisors[choice % divisors.length] as number;
    // A group of few elements can have next to no variance, which no f32 arithmetic survives.
    if (numel(x.shape) / groups < 12) return undefined;
    const [gamma, beta] = [this.#param("gamma", [c], 0.2, 1), this.#param("beta", [c], 0.2)];
    return this.graph.groupNorm(`norm${this.#count++}`, x, { gamma, beta, groups, eps: 1e-3, emb });
  }

  step({ kind, from, other, outputs, swap }: Step): Value | undefined {
    const { graph, known } = this;
    const x = known[Math.max(0, known.length - 1 - from)] as Value;
    const [h = 0, w = 0, c = 0] = x.shape;
    const label = `${kind}${this.#count++}`;
    const sum = (a: Value, b: Value, scale?: number) =>
      swap ? graph.add(label, b, a, scale) : graph.add(label, a, b, scale);
    switch (kind) {
      case "conv":
        return this.#conv(x, outputs > 8 ? [outputs - 6, 6] : [outputs], 1);
      case "conv3":
        return this.#conv(x, [outputs], 3);
      case "down":
        return h > 1 && w > 1 ? this.#conv(x, [outputs], 3, 2) : undefined;
      case "residual":
        return sum(this.#conv(x, x.segments, swap ? 3 : 1), x, other % 2 ? Math.SQRT1_2 : 1);
      case "emb":
        return graph.addEmb(label, this.#conv(x, [outputs], 3), this.#emb([outputs]));
      case "norm":
        return this.#norm(x, other);
      case "normEmb":
        return x.segments.length === 1 ? this.#norm(x, other, this.#emb([c, c])) : undefined;
      case "act":
        return graph.activation(label, x, swap ? "silu" : "relu");
      case "up":
        return h <= 4 ? graph.upsample(label, x, this.#odd(x, swap)) : undefined;
      case "layerNorm": {
        if (x.segments.length > 1 || c < 3) return undefined;
        const [gamma, beta] = [this.#param("gamma", [c], 0.2, 1), this.#param("beta", [c], 0.2)];
        return graph.layerNorm(label, x, { gamma, beta, eps: 1e-2 });
      }
      case "pool":
        return h > 1 && w > 1 ? graph.avgPool(label, x) : undefined;
      case "center":
        return graph.scaleShift(label, x, 2, -1);
      case "concat": {
        const partner = this.#partner(x, other, (v) => (v.shape[2] as number) + c <= 24);
        return partner && graph.concat(label, x, partner);
      }
      case "add": {
        const places = channelPositions(x.segments).join();
        const partner = this.#partner(x, other, (v) => channelPositions(v.segments).join() === places);
        return partner && sum(x, partner);
      }
      case "cross": {
        const segments = [3, 3];
        const [q, kv] = [this.#conv(x, segments, 1), this.#conv(this.#context, [...segments, ...segments], 1)];
        return graph.attention(label, { q, kv, heads: 2, headDim: 3, kGroup: 0, vGroup: 2 });
      }
      case "resnet": {
        const normed = this.#norm(x, other);
        if (!normed) return undefined;
        const partner = this.#partner(x, other, (v) => v !== x);
        const shortcut = this.#conv(partner && swap ? graph.concat(label, x, partner) : x, [outputs], 1);
        return sum(this.#conv(graph.activation(label, normed, "silu"), [outputs], 3), shortcut);
      }
      case "attention": {
        const segments = [5, 5];
        const qkv = this.#conv(x, [...segments, ...segments, ...segments], 1);
        return graph.attention(label, { q: qkv, kv: qkv, heads: 2, headDim: 5, kGroup: 4, vGroup: 8 });
      }
      default:
        return graph[kind](label, this.#conv(x, new Array(pointwise[kind].parts).fill(outputs), 1));
    }
  }

  /** A size that upsampling x has to come to: now and then one row or column less than twice its own. */
  #odd({ shape: [h = 0, w = 0] }: Value, odd: boolean): Value | undefined {
    return odd ? this.graph.value("odd", [h * 2 - 1, w * 2, 1]) : undefined;
  }

  /** An earlier value of the same size, possibly x itself. */
  #partner(x: Value, other: number, fits: (v: Value) => boolean): Value | undefined {
    const found = this.known.filter((v) => v.shape[0] === x.shape[0] && v.shape[1] === x.shape[1] && fits(v));
    return found[Math.max(0, found.length - 1 - other)];
  }
}

/** Runs a plan's graph fused and lowered; NMSE of every output against f64. */
export async function checkGraph(plan: GraphPlan, target: Target): Promise<number[]> {
  const builder = new Builder(plan.channels, target);
  for (const step of plan.steps) {
    const y = builder.step(step);
    if (y) builder.known.push(y);
  }
  const { graph, inputs, params, known } = builder;
  const made = known.slice(1);
  if (made.length === 0) return [];
  const outputs = new Set([made.at(-1) as Value, ...plan.taps.map((t) => made[t % made.length] as Value)]);
  for (const output of outputs) graph.output(output);
  const expected = interpret(graph, inputs.map, params);
  const init = { target, batch: BATCH, inputs: inputs.map, params, outputs: graph.outputs };
  const actual = await runOps(fold(graph), init);
  return graph.outputs.map((y, i) => nmse((actual[i] as RefTensor).data, (expected.get(y) as RefTensor).data));
}
