/** GroupNorm: measured into a scale and a shift per channel, which are applied where the result is read. */
import type { Value } from "../../runtime/values.ts";
import type { EmbRef } from "../conv2d/node.ts";
import { type NormNode, Norms } from "../lowering/norms.ts";
import type { ParamRef } from "../weights.ts";
import { defineOp, type Operation } from "./operation.ts";

export interface GroupNormInit {
  readonly gamma: ParamRef;
  readonly beta: ParamRef;
  readonly groups: number;
  readonly eps: number;
  /** Scale and shift of a scale-shift norm. */
  readonly emb?: EmbRef;
}
export const groupNorm = defineOp({
  name: "groupNorm",
  build(graph, label, x: Value, init: GroupNormInit) {
    return { x, ...init, y: graph.value(label, x.shape, x.segments) };
  },
  reads: ({ x }) => [x],
  params: ({ gamma, beta }) => [gamma, beta],
  fuse(fusion, node) {
    const { label, gamma, beta, groups, eps, emb } = node;
    const { sources, affine } = fusion.map(node);
    fusion.push<NormNode>({ op: "norm", label, sources, gamma, beta, groups, eps, emb, y: affine });
  },
});

/** What is left of one: its scale and shift. */
export const norm: Operation<NormNode> = {
  name: "norm",
  reads: ({ sources }) => sources,
  lower: (lowering, node) => lowering.shared(Norms).norm(node),
};
