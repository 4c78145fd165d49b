/** norm → activation → convolution of small images in one dispatch, against the nodes' own meaning in f64. */
import { expect, it } from "vitest";
import { Graph } from "../../src/kernels/graph.ts";
import { fold, lowerGraph } from "../../src/kernels/lower.ts";
import type { ParamRef } from "../../src/kernels/weights.ts";
import { tensorsOf } from "../reference/inputs.ts";
import { nmse, type RefTensor } from "../reference/tensor.ts";
import { Inputs, runOps, targets } from "../support/gpu.ts";
import { interpret } from "../support/interpreter.ts";

interface ImageCase {
  n: number;
  h: number;
  w: number;
  c: number;
  /** Channels of a second source of the norm. */
  c2?: number;
  o: number;
  groups: number;
  emb?: boolean;
  /** What is added: the input itself, or its sources through a 1×1 convolution. */
  residual?: "input" | "shortcut";
  act?: "silu" | "gelu";
}

const cases: readonly ImageCase[] = [
  // pixel-avatars-16: the resnets of its lowest level, going down and up.
  { n: 2, h: 4, w: 4, c: 64, o: 64, groups: 8, emb: true },
  { n: 1, h: 4, w: 4, c: 64, o: 64, groups: 8, residual: "input" },
  { n: 7, h: 4, w: 4, c: 64, c2: 64, o: 64, groups: 8, emb: true },
  { n: 2, h: 4, w: 4, c: 48, c2: 48, o: 64, groups: 8, residual: "shortcut" },
  { n: 2, h: 4, w: 4, c: 16, o: 40, groups: 8, residual: "shortcut" },
  // Groups of one and two channels, sizes that fill no row, outputs that fill no vec4.
  { n: 2, h: 3, w: 5, c: 8, o: 10, groups: 8, act: "gelu" },
  { n: 1, h: 2, w: 7, c: 16, c2: 8, o: 6, groups: 12, emb: true },
  { n: 2, h: 2, w: 2, c: 256, o: 36, groups: 32 },
];

function build(it: ImageCase, graph: Graph, inputs: Inputs) {
  const make = tensorsOf(`image ${JSON.stringify(it)}`);
  const params: Record<string, RefTensor> = {};
  const param = (name: string, shape: readonly number[], scale: number, mean = 0): ParamRef => {
    params[name] = make(shape, { scale, mean });
    return { name, shape };
  };
  const x = inputs.add("x", make([it.n, it.h, it.w, it.c], { mean: 0.5 }));
  const x2 = it.c2 ? inputs.add("x2", make([it.n, it.h, it.w, it.c2])) : undefined;
  const wide = x2 ? graph.concat("both", x, x2) : x;
  const c = it.c + (it.c2 ?? 0);
  const conv = (name: string, kernel: number) => ({
    weight: param(`${name}.w`, [it.o, c, kernel, kernel], (c * kernel * kernel) ** -0.5),
    bias: param(`${name}.b`, [it.o], 0.3),
    segments: [it.o],
  });
  const shortcut = it.residual === "shortcut" ? graph.conv2d("shortcut", wide, [conv("shortcut", 1)]) : undefined;
  const norm = { gamma: param("gamma", [c], 0.2, 1), beta: param("beta", [c], 0.2), groups: it.groups, eps: 1e-5 };
  const h = graph.activation("act", graph.groupNorm("norm", wide, norm), it.act ?? "silu");
  let y = graph.conv2d("conv", h, [conv("conv", 3)], { kernel: [3, 3], pad: [1, 1, 1, 1] });
  if (it.emb) y = graph.addEmb("emb", y, { table: inputs.add("table", make([it.n, it.o])), group: 0 });
  if (shortcut) y = graph.add("sum", shortcut, y);
  if (it.residual === "input") y = graph.add("sum", x, y, Math.SQRT1_2);
  return { y: graph.output(y), params };
}

const found = (await targets()).filter(({ target }) => target.software && target.lanes > 0);
it.each(found.flatMap((t) => cases.map((c) => ({ ...c, ...t }))))(
  "norm and convolution of n=$n, $h×$w, $c+$c2→$o, $groups groups, emb $emb, residual $residual",
  async ({ target, ...shape }) => {
    for (const [dtype, tolerance] of [["f32", 1e-10] as const, ["f16", 2e-5] as const]) {
      const graph = new Graph(dtype, target.storage);
      const inputs = new Inputs(target, "f32");
      const { y, params } = build(shape, graph, inputs);
      expect(lowerGraph(graph, target).calls.map((c) => `${c.kernel}/${c.variant}`)).toEqual(["conv2d/image"]);
      const expected = interpret(graph, inputs.map, params).get(y) as RefTensor;
      const init = { target, batch: shape.n, inputs: inputs.map, params, outputs: [y], dtype };
      const [actual] = await runOps(fold(graph), init);
      expect(nmse((actual as RefTensor).data, expected.data)).toBeLessThanOrEqual(tolerance);
    }
  },
);
