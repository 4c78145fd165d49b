/** Fusion: which operations a graph becomes, and that random graphs still compute what their nodes say. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ConvNode, EmbRef } from "../../src/kernels/conv2d/node.ts";
import { Graph } from "../../src/kernels/graph.ts";
import { fold, lowerGraph } from "../../src/kernels/lower.ts";
import type { Node } from "../../src/kernels/operations/table.ts";
import type { WeightSpec } from "../../src/kernels/weights.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { makeValue, type Storage, type Value } from "../../src/runtime/values.ts";
import { constTarget, targets } from "../support/gpu.ts";
import { checkGraph, randomGraphs } from "../support/randomGraphs.ts";

const lanes: Target = { shapes: "uniform", storage: "texture", lanes: 8, software: true };

/** A graph with an input [4, 4, 8] and short names for what the cases build. */
class Sketch {
  readonly graph: Graph;
  readonly x: Value;
  readonly emb: EmbRef;
  #count = 0;

  constructor(storage: Storage = "buffer") {
    this.graph = new Graph("f32", storage);
    this.x = this.graph.value("x", [4, 4, 8]);
    this.emb = { table: this.graph.value("table", [1, 1, 16]), group: 1 };
  }

  conv(x: Value, outputs = 8): Value {
    const name = `conv${this.#count++}`;
    const spec: WeightSpec = { weight: { name, shape: [outputs, x.shape[2] as number, 1, 1] }, segments: [outputs] };
    return this.graph.conv2d(name, x, [spec]);
  }

  norm(x: Value): Value {
    const c = [x.shape[2] as number];
    const name = `norm${this.#count++}`;
    const init = {
      gamma: { name: `${name}.g`, shape: c },
      beta: { name: `${name}.b`, shape: c },
      groups: 2,
      eps: 1e-5,
    };
    return this.graph.groupNorm(name, x, init);
  }

  silu = (x: Value): Value => this.graph.activation("silu", x, "silu");
  up = (x: Value): Value => this.graph.upsample("up", x);
  add = (a: Value, b: Value, scale?: number): Value => this.graph.add("add", a, b, scale);

  /** Folds with some outputs; operations as their kinds in order. */
  fold(...outputs: Value[]): { ops: Node[]; kinds: string } {
    for (const output of outputs) this.graph.output(output);
    const ops = fold(this.graph);
    return { ops, kinds: ops.map(({ op }) => op).join(" ") };
  }
}

const conv = (ops: readonly Node[], i: number): ConvNode => {
  const op = ops[i];
  if (op?.op !== "conv2d") throw new Error(`operation ${i} is no convolution`);
  return op;
};

describe("epilogues", () => {
  it("takes embedding, residual and scale into the convolution that made the value", () => {
    const s = new Sketch();
    const y = s.add(s.x, s.graph.addEmb("emb", s.conv(s.x), s.emb), 0.5);
    const { ops, kinds } = s.fold(y);
    expect(kinds).toBe("conv2d");
    expect(conv(ops, 0)).toMatchObject({ emb: s.emb, residual: s.x, scale: 0.5, y });
  });

  it("takes an embedding after a residual too, because both are sums", () => {
    const s = new Sketch();
    const y = s.graph.addEmb("emb", s.add(s.conv(s.x), s.x), s.emb);
    const { ops, kinds } = s.fold(y);
    expect(kinds).toBe("conv2d");
    expect(conv(ops, 0)).toMatchObject({ emb: s.emb, residual: s.x, y });
  });

  it("lets the later of two convolutions add the earlier one", () => {
    for (const swapped of [false, true]) {
      const s = new Sketch();
      const [first, second] = [s.conv(s.x), s.conv(s.x)];
      const y = swapped ? s.add(second, first) : s.add(first, second);
      const { ops, kinds } = s.fold(y);
      expect(kinds).toBe("conv2d conv2d");
      expect(conv(ops, 0)).toMatchObject({ y: first });
      expect(conv(ops, 0).residual).toBeUndefined();
      expect(conv(ops, 1)).toMatchObject({ residual: first, y });
    }
  });

  it("leaves alone a value that somebody else reads, or that is an output", () => {
    const read = new Sketch();
    const c = read.conv(read.x);
    const sum = read.add(c, read.x);
    expect(read.fold(sum, read.conv(c)).kinds).toBe("conv2d add conv2d");
    const pinned = new Sketch();
    const tap = pinned.conv(pinned.x);
    expect(pinned.fold(pinned.add(tap, pinned.x), tap).kinds).toBe("conv2d add");
    const twice = new Sketch();
    const own = twice.conv(twice.x);
    expect(twice.fold(twice.add(own, own)).kinds).toBe("conv2d add");
  });

  it("adds one residual at most, and nothing after a scale", () => {
    const s = new Sketch();
    expect(s.fold(s.add(s.add(s.conv(s.x), s.x), s.x)).kinds).toBe("conv2d add");
    const scaled = new Sketch();
    expect(scaled.fold(scaled.add(scaled.add(scaled.conv(scaled.x), scaled.x, 0.5), scaled.x)).kinds).toBe(
      "conv2d add",
    );
  });

  it("does not wait for a residual that is made after the convolution", () => {
    const s = new Sketch();
    const c = s.conv(s.x);
    // An attention is no convolution, so nobody else can take the sum along.
    const y = s.graph.attention("a", { q: s.x, kv: s.x, heads: 1, headDim: 4, kGroup: 0, vGroup: 1 });
    const sum = s.add(c, s.graph.concat("two", y, y));
    expect(s.fold(sum).kinds).toBe("conv2d attention apply add");
  });

  it("refuses an embedding that is added to no convolution", () => {
    const s = new Sketch();
    s.graph.addEmb("late", s.silu(s.x), s.emb);
    expect(() => s.fold()).toThrow("internal: late: an embedding is added to no convolution");
  });
});

describe("views", () => {
  it("reads concatenation, norm and activation while it loads", () => {
    const s = new Sketch();
    const other = s.graph.value("skip", [4, 4, 4]);
    const y = s.conv(s.up(s.silu(s.norm(s.graph.concat("c", s.x, other)))));
    const { ops, kinds } = s.fold(y);
    expect(kinds).toBe("norm conv2d");
    expect(ops[0]).toMatchObject({ sources: [s.x, other] });
    const { view } = conv(ops, 1);
    expect(view).toMatchObject({ sources: [s.x, other], act: "silu", upsample: true });
    expect(view.affine).toBe(ops[0]?.op === "norm" && ops[0].y);
  });

  it("writes a residual that is a view before the convolution that adds it", () => {
    const s = new Sketch();
    const shortcut = s.silu(s.x);
    const y = s.add(shortcut, s.conv(s.x));
    const { ops, kinds } = s.fold(y);
    expect(kinds).toBe("apply conv2d");
    expect(conv(ops, 1).residual).toBe(shortcut);
    expect(ops[0]).toMatchObject({ op: "apply", y: shortcut, view: { act: "silu" } });
  });

  it("does not move such a view before what it reads", () => {
    const s = new Sketch();
    const c = s.conv(s.x);
    const late = s.norm(s.x);
    expect(s.fold(s.add(c, late)).kinds).toBe("conv2d norm apply add");
  });

  it("keeps the order of activation and upsampling, and writes what does not nest", () => {
    const fused = new Sketch();
    expect(fused.fold(fused.conv(fused.up(fused.silu(fused.x)))).kinds).toBe("conv2d");
    for (const build of [
      (s: Sketch) => s.silu(s.up(s.x)),
      (s: Sketch) => s.up(s.up(s.x)),
      (s: Sketch) => s.silu(s.silu(s.x)),
      (s: Sketch) => s.graph.activation("relu", s.silu(s.x), "relu"),
    ]) {
      const s = new Sketch();
      expect(s.fold(s.conv(build(s))).kinds).toBe("apply conv2d");
    }
    for (const build of [
      (s: Sketch) => s.norm(s.silu(s.x)),
      (s: Sketch) => s.norm(s.norm(s.x)),
      (s: Sketch) => s.norm(s.up(s.x)),
    ]) {
      const s = new Sketch();
      expect(s.fold(s.conv(build(s))).kinds).toMatch(/^(norm )?apply norm conv2d$/);
    }
  });

  it("pools what it reads through a view, but not enlarged pixels", () => {
    const s = new Sketch();
    const { ops, kinds } = s.fold(s.graph.avgPool("pool", s.silu(s.norm(s.x))));
    expect(kinds).toBe("norm apply");
    expect(ops[1]).toMatchObject({ pool: true, view: { act: "silu" } });
    const enlarged = new Sketch();
    expect(enlarged.fold(enlarged.graph.avgPool("pool", enlarged.up(enlarged.x))).kinds).toBe("apply apply");
  });

  it("writes inputs of attention, sums and concatenations, and outputs that are views", () => {
    const s = new Sketch();
    const q = s.silu(s.x);
    const a = s.graph.attention("a", { q, kv: q, heads: 1, headDim: 4, kGroup: 0, vGroup: 1 });
    expect(s.fold(a).kinds).toBe("apply attention");
    const joined = new Sketch();
    expect(joined.fold(joined.conv(joined.graph.concat("c", joined.silu(joined.x), joined.x))).kinds).toBe(
      "apply conv2d",
    );
    const tap = new Sketch();
    const view = tap.norm(tap.x);
    const { ops, kinds } = tap.fold(tap.conv(view), view);
    expect(kinds).toBe("norm conv2d apply");
    expect(ops[2]).toMatchObject({ y: view });
  });

  it("maps an input by constants, as center_input_sample asks", () => {
    const s = new Sketch();
    const { ops, kinds } = s.fold(s.conv(s.graph.scaleShift("center", s.x, 2, -1)));
    expect(kinds).toBe("fill conv2d");
    expect(ops[0]).toMatchObject({ scale: 2, shift: -1 });
  });
});

describe("lowering", () => {
  const kernels = (s: Sketch, target: Target) => lowerGraph(s.graph, target).calls.map((c) => c.kernel);

  it("writes a view once for all convolutions that read it with the same border", () => {
    const s = new Sketch();
    const view = s.silu(s.x);
    s.fold(s.conv(view), s.conv(view));
    expect(kernels(s, lanes)).toEqual(["apply", "conv2d", "conv2d"]);
    expect(kernels(s, constTarget)).toEqual(["conv2d", "conv2d"]);
  });

  it("tells views of one value apart", () => {
    const s = new Sketch();
    const views = [s.silu(s.x), s.graph.activation("relu", s.x, "relu"), s.norm(s.x), s.norm(s.x)];
    s.fold(...views.map((view) => s.conv(view)));
    expect(kernels(s, lanes).filter((k) => k === "apply" || k === "normalise")).toHaveLength(views.length);
  });

  it("reads padding and nearest ×2 in place", () => {
    const s = new Sketch("texture");
    s.fold(s.conv(s.up(s.x)), s.conv(s.x));
    expect(kernels(s, lanes)).toEqual(["conv2d", "conv2d"]);
  });

  it("brings what lies in another storage over first", () => {
    const s = new Sketch();
    s.fold(s.conv(s.x));
    expect(kernels(s, lanes)).toEqual(["apply", "conv2d"]);
  });

  it("takes a shortcut into the convolution that it is added to, unless it is read elsewhere too", () => {
    const resnet = (read: boolean) => {
      const s = new Sketch("texture");
      const shortcut = s.conv(s.graph.concat("c", s.x, s.x), 16);
      const h = s.conv(s.silu(s.norm(s.x)), 16);
      s.fold(s.add(shortcut, h), ...(read ? [shortcut] : []));
      return kernels(s, lanes);
    };
    expect(resnet(false)).toEqual(["normalise", "conv2d"]);
    expect(resnet(true)).toEqual(["conv2d", "conv2d", "normalise", "conv2d"]);
  });

  it("measures a skip connection once for every norm that reads it", () => {
    const s = new Sketch();
    const first = s.conv(s.norm(s.x));
    s.fold(s.conv(s.norm(s.graph.concat("c", first, s.x))));
    const stats = kernels(s, constTarget).filter((k) => k === "groupNormStats");
    expect(stats).toHaveLength(2);
  });
});

it("refuses to add values whose channels are padded differently", () => {
  const graph = new Graph("f32", "buffer");
  const [a, b] = [[6, 10], [16]].map((segments) => makeValue({ ...graph.value("v", [2, 2, 16]), segments })) as [
    Value,
    Value,
  ];
  expect(() => graph.add("sum", a, b)).toThrow('internal: sum: "v" and "v" store their channels in different places');
  expect(() => graph.add("sum", a, graph.value("w", [2, 2, 16], [6, 10]))).not.toThrow();
  // Segments that are whole vec4s leave no gaps.
  expect(() => graph.add("sum", b, graph.value("w", [2, 2, 16], [4, 12]))).not.toThrow();
});

describe("random graphs compute what their nodes say", () => {
  // The target of GPUs has the same kernels as "direct" but for `tiled`, which takes software adapters seconds to compile.
  it.each([
    ["own", 60],
    ["direct", 30],
  ])("%s", async (name, numRuns) => {
    const found = (await targets()).find((t) => t.name === name);
    await fc.assert(
      fc.asyncProperty(randomGraphs, async (plan) => {
        for (const error of await checkGraph(plan, (found as { target: Target }).target))
          expect(error).toBeLessThanOrEqual(1e-10);
      }),
      { numRuns, seed: 2026, endOnFailure: true },
    );
  });
});
