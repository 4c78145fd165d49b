/**
 * Steps that remember: DPM-Solver++ 2M, PLMS, the inversions that iterate or go back exactly, and rules from outside. `history` holds RING
 * states v_1, v_2, … of past evaluations and then, with `base`, one more: a state to start from again.
 * The row's cursor is the slot of v_1; `push` puts v_0 into the slot after it.
 */
import { defineKernel } from "../../runtime/kernel.ts";
import { range, wgsl } from "../../runtime/wgsl.ts";
import { cleanStatements, PREDICTION_TENSORS } from "./prediction.ts";
import { RECORDS } from "./records.ts";
import { perVector, stateVectors, storeState } from "./state.ts";
import { type NoisyFlags, noiseStatements, stepFunctions } from "./step.ts";

export interface HistoryFlags extends NoisyFlags {
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
    z: "in? N H W C",
    factors: "in? *",
  },
  records: RECORDS,
  frame: true,
  variants: perVector<HistoryFlags>(stepFunctions, (k) => {
    const { ring, base } = k.flags;
    const slot = (s: string) => `(${s}) * N * H * W * C4 + i`;
    // v_k lies k - 1 slots before the cursor, around the ring.
    const past = range(ring).map(
      (j) => `if (row.weights[${j + 1}] != 0.0) {
    next += row.weights[${j + 1}] * ${k.load("history", slot(`(row.cursor + ${ring - j}u) % ${ring}u`))};
  }`,
    );
    return wgsl`
  ${cleanStatements(k)}
  let value = row.value.x * state + row.value.y * m + row.value.z * clean;
  var next = row.k3 * state + row.weights[0] * value;
  ${past.join("\n  ")}
  #if ${base}
  if (row.base != 0.0) { next += row.base * ${k.load("history", slot(`${ring}u`))}; }
  if (row.save != 0u) { ${k.store("history", slot(`${ring}u`), "state")} }
  #endif
  #if ${ring > 0}
  if (row.push != 0u) { ${k.store("history", slot(`(row.cursor + 1u) % ${Math.max(1, ring)}u`), "value")} }
  #endif
  ${noiseStatements(k)}
  ${storeState(k, "next")}
  ${k.store("x0", "i", "clean")}`;
  }),
  cost(d, batch, flags) {
    const vectors = stateVectors(d, batch);
    return { flops: 48 * vectors, bytes: 16 * vectors * (flags.guided ? 8 : 6) };
  },
});
