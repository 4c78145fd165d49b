/** k-diffusion's samplers (k_diffusion/sampling.py and external.py) in float64, on states y = x0 + σ ε. */

/** The denoised y at a σ. */
export type Denoiser = (y: Float64Array, sigma: number) => Float64Array;

const map = (f: (...v: number[]) => number, ...lists: Float64Array[]) =>
  (lists[0] as Float64Array).map((_, i) => f(...lists.map((list) => list[i] as number)));

const toD = (y: Float64Array, sigma: number, denoised: Float64Array) => map((a, b) => (a! - b!) / sigma, y, denoised);

/** get_ancestral_step. */
export function ancestralStep(from: number, to: number, eta: number): { down: number; up: number } {
  const up = Math.min(to, eta * ((to ** 2 * (from ** 2 - to ** 2)) / from ** 2) ** 0.5);
  return { down: (to ** 2 - up ** 2) ** 0.5, up };
}

/** sample_euler_ancestral; the state after every step. @param sigmas noisiest first, 0 or more at the end */
export function eulerAncestral(
  model: Denoiser,
  start: Float64Array,
  sigmas: readonly number[],
  noise: (step: number) => Float64Array,
  eta = 1,
): Float64Array[] {
  let y = start;
  return sigmas.slice(0, -1).map((sigma, i) => {
    const denoised = model(y, sigma);
    const { down, up } = ancestralStep(sigma, sigmas[i + 1]!, eta);
    const d = toD(y, sigma, denoised);
    y = map((a, slope) => a! + slope! * (down - sigma), y, d);
    if (sigmas[i + 1]! > 0) y = map((a, z) => a! + z! * up, y, noise(i));
    return y;
  });
}

/** sample_heun with s_churn 0; the state after every step. */
export function heun(model: Denoiser, start: Float64Array, sigmas: readonly number[]): Float64Array[] {
  let y = start;
  return sigmas.slice(0, -1).map((sigma, i) => {
    const next = sigmas[i + 1]!;
    const d = toD(y, sigma, model(y, sigma));
    const dt = next - sigma;
    const y2 = map((a, slope) => a! + slope! * dt, y, d);
    if (next === 0) {
      y = y2;
      return y;
    }
    const d2 = toD(y2, next, model(y2, next));
    y = map((a, s1, s2) => a! + ((s1! + s2!) / 2) * dt, y, d, d2);
    return y;
  });
}
