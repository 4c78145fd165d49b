/** Twice the size by repeating pixels, half of it by averaging them. */
import { ShapeError } from "../../runtime/errors.ts";
import type { Value } from "../../runtime/values.ts";
import { type ApplyNode, hwc } from "./node.ts";
import { defineOp } from "./operation.ts";

/** Nearest ×2; with `like`, to its size: the same, or one line or column less. */
export const upsample = defineOp({
  name: "upsample",
  build(graph, label, x: Value, like?: Value) {
    const [h, w, c] = hwc(x);
    const [ho, wo] = like ? hwc(like) : [h * 2, w * 2];
    if (![0, 1].includes(h * 2 - ho) || ![0, 1].includes(w * 2 - wo))
      throw new ShapeError(label, `"${like?.name}"`, `[${h * 2}, ${w * 2}, C] or one less`, [ho, wo, c]);
    const y = graph.value(`${label}.upsample`, [ho, wo, c], x.segments);
    return { x, y };
  },
  reads: ({ x }) => [x],
  fuse(fusion, { label, x, y }) {
    const view = { ...fusion.nest(x, ({ upsample }) => !upsample), upsample: true };
    const [h = 0, w = 0] = x.shape;
    // Whoever reads a view knows its size by that of the sources.
    if (y.shape[0] === h * 2 && y.shape[1] === w * 2) fusion.see(y, view);
    else fusion.push<ApplyNode>({ op: "apply", label, view, pool: false, y });
  },
});

/** The mean of 2×2 pixels; an odd line or column is left out. */
export const avgPool = defineOp({
  name: "avgPool",
  build(graph, label, x: Value) {
    const [h, w, c] = hwc(x);
    const y = graph.value(`${label}.avgPool`, [Math.floor(h / 2), Math.floor(w / 2), c], x.segments);
    return { x, y };
  },
  reads: ({ x }) => [x],
  fuse(fusion, { label, x, y }) {
    fusion.push<ApplyNode>({ op: "apply", label, view: fusion.nest(x, ({ upsample }) => !upsample), pool: true, y });
  },
});
