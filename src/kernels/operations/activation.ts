/** An activation function, applied where its result is read. */
import type { Value } from "../../runtime/values.ts";
import type { Activation } from "../parts/activations.ts";
import type { NodeBase } from "./node.ts";
import type { Operation } from "./operation.ts";

interface ActivationNode extends NodeBase {
  readonly op: "activation";
  readonly x: Value;
  readonly act: Activation;
}

export const activation = {
  name: "activation",
  build(graph, label, x: Value, act: Activation) {
    if (act === "none") return x;
    const y = graph.value(`${label}.act`, x.shape, x.segments);
    return graph.push<ActivationNode>({ op: "activation", label, x, act, y });
  },
  reads: ({ x }) => [x],
  fuse(fusion, { x, act, y }) {
    fusion.see(y, { ...fusion.nest(x, (view) => view.act === "none" && !view.upsample), act });
  },
} satisfies Operation<ActivationNode>;
