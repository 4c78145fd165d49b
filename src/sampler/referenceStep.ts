/** The step in float64 on the host: what the GPU's kernel is measured against. */
import { ShapeError } from "../runtime/errors.ts";
import type { ScheduleStep } from "./scheduleTypes.ts";

/**
 * Applies one step of a schedule to flat tensors of equal length, in any layout.
 *
 * @param x the state, @param m the network's output for it, @param z standard normal noise (needed only where σ > 0)
 * @returns the next state and the predicted x0, clamped if the schedule clamps
 */
export function referenceStep(
  step: ScheduleStep,
  x: ArrayLike<number>,
  m: ArrayLike<number>,
  z?: ArrayLike<number>,
): { x: Float64Array; x0: Float64Array } {
  const { k0, k1, k2, k3, k4, clip } = step.coefficients;
  const n = x.length;
  if (m.length !== n) throw new ShapeError("referenceStep", "m", `[${n}]`, [m.length]);
  if (step.sigma > 0 && z?.length !== n) throw new ShapeError("referenceStep", "z", `[${n}]`, [z?.length ?? 0]);
  const x0 = new Float64Array(n);
  const next = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    const signal = k0 * x[i]! + k1 * m[i]!;
    x0[i] = clip === null ? signal : Math.min(Math.max(signal, -clip), clip);
    next[i] = k2 * x0[i]! + k3 * x[i]! + k4 * m[i]! + (step.sigma > 0 ? step.sigma * z![i]! : 0);
  }
  return { x: next, x0 };
}
