/** A plan's rows in float64, as src/kernels/sampling/records.ts says what they mean. */
import type { Plan } from "../../src/sampler/plan.ts";

/**
 * @param network its output for a state at a timestep
 * @param noise of a row
 * @returns the state after every row
 */
export function replay(
  { rows, history }: Pick<Plan, "rows" | "history">,
  network: (x: Float64Array, t: number) => Float64Array,
  start: Float64Array,
  noise: (row: number) => Float64Array,
): Float64Array[] {
  let x = start;
  const ring = new Array<Float64Array>(history?.ring ?? 0);
  let base: Float64Array | undefined;
  return rows.map(({ tNetwork, update: u }, r) => {
    const m = network(x, tNetwork);
    const bound = u.clip || Number.POSITIVE_INFINITY;
    const x0 = x.map((v, i) => Math.min(bound, Math.max(-bound, u.k0! * v + u.k1! * m[i]!)));
    const [a = 0, b = 0, c = 0] = u.value ?? [];
    const own = x.map((v, i) => a * v + b * m[i]! + c * x0[i]!);
    const size = ring.length;
    const past = (k: number) => ring[((u.cursor ?? 0) + size - (k - 1)) % size];
    const z = u.sigma ? noise(r) : undefined;
    const old = x;
    x = x.map((v, i) => {
      const added = z ? u.sigma! * z[i]! : 0;
      if (!history) return (u.k2 ?? 0) * x0[i]! + (u.k3 ?? 0) * v + (u.k4 ?? 0) * m[i]! + added;
      const [w = 0, ...weights] = u.weights ?? [];
      const remembered = weights.reduce((sum, weight, k) => sum + (weight ? weight * past(k + 1)![i]! : 0), 0);
      return (u.k3 ?? 0) * v + w * own[i]! + remembered + (u.base ? u.base * base![i]! : 0) + added;
    });
    if (u.save) base = old;
    if (u.push) ring[((u.cursor ?? 0) + 1) % size] = own;
    return x;
  });
}
