/**
 * The variational bound of one image, term by term (Ho et al. 2020, eq. 5; OpenAI's GaussianDiffusion.calc_bpd_loop), in
 * bits per dimension, on any sub-sequence of timesteps.
 */
import type { ScheduleStep } from "./scheduleTypes.ts";

/** KL of two normal distributions, in nats. */
function normalKl(mean1: number, logVariance1: number, mean2: number, logVariance2: number): number {
  return (
    0.5 *
    (logVariance2 -
      logVariance1 -
      1 +
      Math.exp(logVariance1 - logVariance2) +
      (mean1 - mean2) ** 2 * Math.exp(-logVariance2))
  );
}

/** The normal distribution function in the tanh form that OpenAI's code uses. */
const cumulative = (v: number) => 0.5 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));

/** ln of the probability that a normal number falls into the byte of x, x in −1..1. */
function discreteLogLikelihood(x: number, mean: number, logVariance: number): number {
  const inverse = Math.exp(-0.5 * logVariance);
  const above = cumulative((x - mean + 1 / 255) * inverse);
  const below = cumulative((x - mean - 1 / 255) * inverse);
  if (x < -0.999) return Math.log(Math.max(above, 1e-12));
  if (x > 0.999) return Math.log(Math.max(1 - below, 1e-12));
  return Math.log(Math.max(above - below, 1e-12));
}

export interface BoundInput {
  readonly step: ScheduleStep;
  /** Whether the step leads to the image. */
  readonly last: boolean;
  /** Variance of the step that the model takes; null: the posterior's, bounded below as in OpenAI's code. */
  readonly logVariance: ArrayLike<number> | null;
  readonly x0: ArrayLike<number>;
  readonly xt: ArrayLike<number>;
  readonly predicted: ArrayLike<number>;
  /** The posterior's log variance of the step above, which bounds the last step's. */
  readonly floor: number;
}

/** Mean over one image of its term, in bits. */
export function boundTerm({ step, last, logVariance, x0, xt, predicted, floor }: BoundInput): number {
  const { alphaCumprod: a, alphaCumprodPrev: p } = step;
  // q(x_prev | x_t, x0) has mean c0 x0 + ct x_t.
  const c0 = (Math.sqrt(p) * (1 - a / p)) / (1 - a);
  const ct = (Math.sqrt(a / p) * (1 - p)) / (1 - a);
  const posterior = last || p === 1 ? floor : Math.log(((1 - p) / (1 - a)) * (1 - a / p));
  let sum = 0;
  for (let i = 0; i < x0.length; i++) {
    const own = logVariance?.[i] ?? posterior;
    const mean = c0 * predicted[i]! + ct * xt[i]!;
    sum += last ? -discreteLogLikelihood(x0[i]!, mean, own) : normalKl(c0 * x0[i]! + ct * xt[i]!, posterior, mean, own);
  }
  return sum / x0.length / Math.LN2;
}

/** KL of q(x_T | x0) from the normal distribution, in bits per dimension. */
export function priorTerm(alphaCumprod: number, x0: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < x0.length; i++)
    sum += normalKl(Math.sqrt(alphaCumprod) * x0[i]!, Math.log(1 - alphaCumprod), 0, 0);
  return sum / x0.length / Math.LN2;
}
