/**
 * One sampling step as five float64 scalars, arranged so that nothing cancels. Written with a = ᾱ_t and p = ᾱ_prev, the
 * step is eq. (12) of the DDIM paper (Song et al. 2021) with σ of eq. (16):
 *
 *   x_prev = √p · x0 + √(1 - p - σ²) · ε + σ · z,   σ = η √((1 - p)/(1 - a)) √(1 - a/p)
 *
 * Two differences lose their digits when they are computed as written; both have forms of positive terms, for η up to 1
 * and in either direction (an inversion's steps lead up, p < a):
 *
 *   1 - p - σ²        = (1 - p) · [ 1 - η² + η² a(1 - p)/(p(1 - a)) ]
 *   p(1 - a) - a · d² = (p - a) · [ 1 + η² a(1 - p)/(p(1 - a)) ]                        with d² = 1 - p - σ²
 *
 * The second, divided by √(p(1 - a)) + √a d, is the coefficient of the network's output once x0 and ε are eliminated.
 */

/** What the network can predict, under diffusers' names. */
export const predictionTypes = ["epsilon", "v_prediction", "sample"] as const;
export type PredictionType = (typeof predictionTypes)[number];

/** Dynamic thresholding: s = the `ratio` quantile of |x0| over an image, clamped to 1..max; x0 becomes clamp(x0, ±s)/s. */
export interface Threshold {
  ratio: number;
  max: number;
}

/**
 * x0 = bound(k0 · x + k1 · m) and x_prev = k2 · x0 + k3 · x + k4 · m + σ · z, with x the state, m the network's output
 * and z standard normal noise. Without a bound k2 = 0: the step is linear in x and m, and x0 is only for reporting.
 */
export interface StepCoefficients {
  k0: number;
  k1: number;
  k2: number;
  k3: number;
  k4: number;
  /** x0 is clamped to ±clip; null leaves it alone. */
  clip: number | null;
  /** x0 is thresholded, and then not clamped. */
  threshold: Threshold | null;
}

export interface StepOptions {
  /** ᾱ where the step starts, 0 ≤ ᾱ < 1; 0 (no signal left) is refused for epsilon by the schedule. */
  alphaCumprod: number;
  /** ᾱ where the step ends, above 0 and at most 1; below ᾱ_t only with η = 0. */
  alphaCumprodPrev: number;
  /** Stochasticity of the deterministic part: 0 (DDIM), 1 (DDPM posterior), at most {@link maximalEta}. */
  eta: number;
  prediction: PredictionType;
  clip: number | null;
  threshold: Threshold | null;
  /** Whether ε is computed again from the clamped x0; the network's own ε is used otherwise. Matters only with a bound. */
  rederive: boolean;
}

/** σ of eq. (16): the standard deviation of the DDPM posterior times η. */
export function posteriorSigma(a: number, p: number, eta: number): number {
  return eta * Math.sqrt((((1 - p) / (1 - a)) * (p - a)) / p);
}

/** σ̂ of the DDIM paper, √(1 - a/p): the standard deviation of q(x_t | x_prev), DDPM's fixed_large. */
export function hatSigma(a: number, p: number): number {
  return Math.sqrt((p - a) / p);
}

/** The largest η for which 1 - p - σ² is not negative; just above 1 near the noisy end. */
export function maximalEta(a: number, p: number): number {
  return p < 1 ? Math.sqrt((p * (1 - a)) / (p - a)) : Number.POSITIVE_INFINITY;
}

/** √(1 - p - σ²), the coefficient of ε. */
export function directionCoefficient(a: number, p: number, eta: number): number {
  const signal = (1 - eta) * (1 + eta) + (eta * eta * a * (1 - p)) / (p * (1 - a));
  return Math.sqrt((1 - p) * signal);
}

export function stepCoefficients(options: StepOptions): StepCoefficients {
  const { alphaCumprod: a, alphaCumprodPrev: p, eta, prediction, clip, threshold, rederive } = options;
  const bounded = clip !== null || threshold !== null;
  const sa = Math.sqrt(a);
  const na = Math.sqrt(1 - a);
  const sp = Math.sqrt(p);
  const direction = directionCoefficient(a, p, eta);
  const gain = ((p - a) * (1 + (eta * eta * a * (1 - p)) / (p * (1 - a)))) / (sp * na + sa * direction);

  const [k0, k1] = signalFrom(prediction, sa, na);
  if (bounded && rederive) return { k0, k1, k2: gain / na, k3: direction / na, k4: 0, clip, threshold };
  const [e0, e1] = noiseFrom(prediction, sa, na);
  if (bounded) return { k0, k1, k2: sp, k3: direction * e0, k4: direction * e1, clip, threshold };
  return { k0, k1, k2: 0, k3: sp * k0 + direction * e0, k4: (gain * k1) / na, clip, threshold };
}

/** x0 as a combination of x and the network's output, given √ᾱ and √(1 - ᾱ). */
function signalFrom(prediction: PredictionType, sa: number, na: number): [x: number, m: number] {
  if (prediction === "epsilon") return [1 / sa, -na / sa];
  return prediction === "sample" ? [0, 1] : [sa, -na];
}

/** ε as a combination of x and the network's output, given √ᾱ and √(1 - ᾱ). */
export function noiseFrom(prediction: PredictionType, sa: number, na: number): [x: number, m: number] {
  if (prediction === "epsilon") return [0, 1];
  return prediction === "sample" ? [1 / na, -sa / na] : [na, sa];
}
