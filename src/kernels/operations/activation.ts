/** An activation function, applied where its result is read. */
import type { Value } from "../../runtime/values.ts";
import type { Activation } from "../parts/activations.ts";
import { defineOp } from "./operation.ts";

export const activation = defineOp({
  name: "activation",
  build(graph, label, x: Value, act: Activation) {
    return { x, act, y: act === "none" ? x : graph.value(`${label}.act`, x.shape, x.segments) };
  },
  reads: ({ x }) => [x],
  fuse(fusion, { x, act, y }) {
    fusion.see(y, { ...fusion.nest(x, (view) => view.act === "none" && !view.upsample), act });
  },
});
