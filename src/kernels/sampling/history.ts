/**
 * Steps that remember: DPM-Solver++ 2M, PLMS, and the inversions that iterate or go back exactly. `history` holds RING
 * states v_1, v_2, … of past evaluations and then, with `base`, one more: a state to start from again.
 *
 *   x0 = bound(k0 x + k1 m);   v_0 = q0 x + q1 m + q2 x0;   x ← A x + G base + Σ w_k v_k
 *
 * The row's other vectors are (q0, q1, q2, A), (G, cursor, push, save) and (w0, w1, w2, w3). The cursor is the slot of v_1;
 * `push` puts v_0 into the slot after it, `save` makes the old x the base.
 */
import { defineKernel } from "../../runtime/kernel.ts";
import { range, wgsl } from "../../runtime/wgsl.ts";
import { type BoundFlags, cleanStatements, PREDICTION_TENSORS, predictionFunctions, rowVector } from "./prediction.ts";
import { perVector, stateVectors, storeState, thread } from "./state.ts";

export interface HistoryFlags extends BoundFlags {
  /** Past values that are kept, 0 to 3. */
  ring: number;
  /** A state is kept to start from again. */
  base: boolean;
}

/** States that `history` holds. */
export const historySlots = ({ ring, base }: Pick<HistoryFlags, "ring" | "base">): number => ring + (base ? 1 : 0);

export const historyStep = defineKernel<HistoryFlags>({
  name: "historyStep",
  tensors: {
    x: "inout N H W C",
    ...PREDICTION_TENSORS,
    status: "atomic *",
    x0: "out N H W C",
    history: "inout *",
    factors: "in? *",
  },
  frame: true,
  variants: perVector((k) => {
    const { ring, base } = k.flags;
    const slot = (s: string) => `(${s}) * N * H * W * C4 + i`;
    // v_k lies k - 1 slots before the cursor, around the ring.
    const past = range(ring).map(
      (j) => `if (w[${j + 1}] != 0.0) {
    next += w[${j + 1}] * ${k.load("history", slot(`(cursor + ${ring - j}u) % ${ring}u`))};
  }`,
    );
    return wgsl`
${k.header}
${predictionFunctions(k)}
${thread(k)}
  let first = head();
  let q = ${rowVector(k, 1)};
  let memory = ${rowVector(k, 2)};
  let w = ${rowVector(k, 3)};
  ${cleanStatements(k)}
  let value = q.x * state + q.y * m + q.z * clean;
  var next = q.w * state + w.x * value;
  let cursor = u32(memory.y);
  ${past.join("\n  ")}
  #if ${base}
  if (memory.x != 0.0) { next += memory.x * ${k.load("history", slot(`${ring}u`))}; }
  if (memory.w > 0.0) { ${k.store("history", slot(`${ring}u`), "state")} }
  #endif
  #if ${ring > 0}
  if (memory.z > 0.0) { ${k.store("history", slot(`(cursor + 1u) % ${Math.max(1, ring)}u`), "value")} }
  #endif
  ${storeState(k, "next")}
  ${k.store("x0", "i", "clean")}
}`;
  }),
  cost(d, batch, flags) {
    const vectors = stateVectors(d, batch);
    return { flops: 48 * vectors, bytes: 16 * vectors * (flags.guided ? 8 : 6) };
  },
});
