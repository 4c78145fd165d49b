/** x·scale + shift with constants, where the result is read (center_input_sample is 2x − 1). */
import { defineKernel } from "../../runtime/kernel.ts";
import type { Value } from "../../runtime/values.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { costOf, inGrid } from "../parts/threads.ts";
import type { NodeBase } from "./node.ts";
import { defineOp, type Operation } from "./operation.ts";

/** A constant affine map for a load map: affine[n, 0] = SCALE, affine[n, 1] = SHIFT. */
export const fillAffine = defineKernel({
  name: "fillAffine",
  tensors: { affine: "out N 2 C" },
  floats: ["SCALE", "SHIFT"],
  variants: inGrid(["C4", "N"], {
    workgroup: () => 32,
    body: (k) => wgsl`
  ${k.store("affine", "id.y * 2u * C4 + id.x", "vec4f(SCALE)")}
  ${k.store("affine", "(id.y * 2u + 1u) * C4 + id.x", "vec4f(SHIFT)")}`,
  }),
  cost: costOf("N C4", { flops: 0, bytes: 32 }),
});

export const scaleShift = defineOp({
  name: "scaleShift",
  /** @param dtype of the result, where it has to be stored */
  build(graph, label, x: Value, scale: number, shift: number, dtype?: "f32") {
    const y = graph.value(label, x.shape, x.segments, dtype);
    return { x, scale, shift, y };
  },
  reads: ({ x }) => [x],
  fuse(fusion, node) {
    const { label, scale, shift } = node;
    fusion.push<FillNode>({ op: "fill", label, scale, shift, y: fusion.map(node).affine });
  },
});

export interface FillNode extends NodeBase {
  readonly op: "fill";
  readonly scale: number;
  readonly shift: number;
}

/** What is left of one: the same scale and shift for every channel of every image. */
export const fill: Operation<FillNode> = {
  name: "fill",
  reads: () => [],
  lower({ target, calls }, { label, scale, shift, y }) {
    calls.push(fillAffine.lower(target, label, { affine: y }, {}, { SCALE: scale, SHIFT: shift }));
  },
};
