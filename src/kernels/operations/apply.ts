/** What fusion and pooling leave: a view that has to be written out. */
import { Norms } from "../lowering/norms.ts";
import type { ApplyNode } from "./node.ts";
import type { Operation } from "./operation.ts";

export const apply: Operation<ApplyNode> = {
  name: "apply",
  reads: ({ view }) => [...view.sources, view.affine],
  lower(lowering, { label, view, y, pool }) {
    lowering.shared(Norms).apply(label, view, y, pool);
  },
};
