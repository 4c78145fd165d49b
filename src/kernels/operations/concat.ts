/** Two values side by side on the channel axis, each read from its own place. */
import { ShapeError } from "../../runtime/errors.ts";
import type { Value } from "../../runtime/values.ts";
import { hwc } from "./node.ts";
import { defineOp } from "./operation.ts";

export const concat = defineOp({
  name: "concat",
  build(graph, label, a: Value, b: Value) {
    const [h, w, c] = hwc(a);
    const [hb, wb, cb] = hwc(b);
    if (h !== hb || w !== wb)
      throw new ShapeError(label, `skip connection "${b.name}"`, `[${h}, ${w}, C] like "${a.name}"`, b.shape);
    const y = graph.value(`${label}.concat`, [h, w, c + cb], [...a.segments, ...b.segments]);
    return { a, b, y };
  },
  reads: ({ a, b }) => [a, b],
  fuse(fusion, { a, b, y }) {
    fusion.see(y, { sources: [fusion.stored(a), fusion.stored(b)], act: "none", upsample: false });
  },
});
