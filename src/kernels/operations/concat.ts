/** Two values side by side on the channel axis, each read from its own place. */
import { ShapeError } from "../../runtime/errors.ts";
import type { Value } from "../../runtime/values.ts";
import { hwc, type NodeBase } from "./node.ts";
import type { Operation } from "./operation.ts";

interface ConcatNode extends NodeBase {
  readonly op: "concat";
  readonly a: Value;
  readonly b: Value;
}

export const concat = {
  name: "concat",
  build(graph, label, a: Value, b: Value) {
    const [h, w, c] = hwc(a);
    const [hb, wb, cb] = hwc(b);
    if (h !== hb || w !== wb)
      throw new ShapeError(label, `skip connection "${b.name}"`, `[${h}, ${w}, C] like "${a.name}"`, b.shape);
    const y = graph.value(`${label}.concat`, [h, w, c + cb], [...a.segments, ...b.segments]);
    return graph.push<ConcatNode>({ op: "concat", label, a, b, y });
  },
  reads: ({ a, b }) => [a, b],
  fuse(fusion, { a, b, y }) {
    fusion.see(y, { sources: [fusion.stored(a), fusion.stored(b)], act: "none", upsample: false });
  },
} satisfies Operation<ConcatNode>;
