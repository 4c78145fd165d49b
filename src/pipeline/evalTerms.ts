/** What a model gets wrong about given images, timestep by timestep. */
import { checkOptions, type OptionNames } from "../runtime/options.ts";
import { boundTerm, priorTerm } from "../sampler/bound.ts";
import { hatSigma, noiseFrom, posteriorSigma } from "../sampler/coefficients.ts";
import { addNoise } from "../sampler/forward.ts";
import { stepNoise } from "../sampler/philox.ts";
import { referenceX0 } from "../sampler/referenceStep.ts";
import { wholeSeed } from "../sampler/seed.ts";
import { checkConcat, joinChannels, resolveConcat } from "./concat.ts";
import { guidanceEmbedding, resolveClasses } from "./conditions.ts";
import { encode } from "./firstStage.ts";
import { forward } from "./forward.ts";
import type { LoadedModel } from "./loaded.ts";
import { checkImages, defaultClasses, type OnImages } from "./onImages.ts";
import { resolveSchedule } from "./run.ts";
import type { Tensor } from "./types.ts";

export interface EvalOptions
  extends Pick<OnImages, "steps" | "spacing" | "timesteps" | "clip" | "classes" | "concat" | "signal"> {
  /** Of the forward process (0): image i at the step's number, as docs/rng.md has it. */
  seed?: number | bigint;
  onEvaluation?: (done: number, of: number) => void;
}

const evalNames: OptionNames<EvalOptions> = {
  steps: true,
  spacing: true,
  timesteps: true,
  clip: true,
  classes: true,
  concat: true,
  seed: true,
  signal: true,
  onEvaluation: true,
};

export interface EvalTerms {
  readonly image: number;
  readonly steps: readonly {
    readonly t: number;
    /** Mean over the image of (ε − ε_θ)² and of (x0 − its prediction)². */
    readonly mse: number;
    readonly x0Mse: number;
    /** Term of the bound, bits per dimension. */
    readonly bound: number;
  }[];
  /** KL at the noisiest timestep, and the whole bound, bits per dimension. */
  readonly prior: number;
  readonly total: number;
}

export async function evalTerms(loaded: LoadedModel, given: Tensor, options: EvalOptions): Promise<EvalTerms[]> {
  checkOptions("evalTerms", options, evalNames);
  const { model } = loaded;
  const { seed = 0, onEvaluation, ...chosen } = options;
  const noiseSeed = wholeSeed(seed);
  const n = checkImages(loaded, given, "eval");
  checkConcat(model, options);
  const images = await encode(loaded, given, { signal: options.signal });
  const [, c, h, w] = images.shape as [number, number, number, number];
  const size = c * h * w;
  const concat = resolveConcat(model, options, n, { height: h, width: w });
  const timestepCond = guidanceEmbedding(model, {}, 1);
  const schedule = resolveSchedule(model, chosen);
  const classes = resolveClasses(model, { classes: options.classes ?? defaultClasses(model) }, n);
  const part = (data: ArrayLike<number>, i: number) =>
    Array.prototype.slice.call(data, i * size, (i + 1) * size) as number[];
  const { steps } = schedule;
  const floorOf = (i: number) => {
    const { alphaCumprod: a, alphaCumprodPrev: p } = steps[i]!;
    return Math.max(2 * Math.log(posteriorSigma(a, p, 1)), Math.log(1e-20));
  };
  const terms = Array.from({ length: n }, (): { t: number; mse: number; x0Mse: number; bound: number }[] => []);
  for (const [i, step] of steps.entries()) {
    const noise = new Float32Array(n * size);
    for (let k = 0; k < n; k++) noise.set(stepNoise(noiseSeed, k, i, [c, h, w]), k * size);
    const xt = addNoise(images.data, noise, step.t, schedule);
    const state = { shape: images.shape, data: xt };
    const output = await forward(
      loaded,
      {
        sample: concat ? joinChannels(state, concat) : state,
        timestep: [step.tNetwork],
        classLabels: classes ?? undefined,
        timestepCond: timestepCond && { shape: [1, timestepCond.length], data: timestepCond },
      },
      { signal: options.signal },
    );
    const channels = output.shape[1] as number;
    const last = i === steps.length - 1;
    const { alphaCumprod: a, alphaCumprodPrev: p } = step;
    const [e0, e1] = noiseFrom(schedule.prediction, Math.sqrt(a), Math.sqrt(1 - a));
    for (let k = 0; k < n; k++) {
      const all = output.data.subarray(k * channels * h * w, (k + 1) * channels * h * w);
      const m = all.subarray(0, size);
      const [x, x0, z] = [part(xt, k), part(images.data, k), part(noise, k)];
      const predicted = referenceX0(step, x, m);
      const mean = (f: (j: number) => number) => x.reduce((sum, _, j) => sum + f(j), 0) / size;
      // The last step's posterior has no variance; OpenAI's code takes that of the step above.
      const floor = last || p === 1 ? floorOf(Math.max(0, i - 1)) : floorOf(i);
      const learned = schedule.learnedVariance && channels === 2 * c;
      const most = 2 * Math.log(hatSigma(a, p));
      const logVariance = learned
        ? Array.from(all.subarray(size), (v) => ((v + 1) / 2) * most + (1 - (v + 1) / 2) * floor)
        : null;
      terms[k]!.push({
        t: step.t,
        mse: mean((j) => (z[j]! - (e0 * x[j]! + e1 * m[j]!)) ** 2),
        x0Mse: mean((j) => (x0[j]! - predicted[j]!) ** 2),
        bound: boundTerm({ step, last, logVariance, x0, xt: x, predicted, floor }),
      });
    }
    onEvaluation?.(i + 1, steps.length);
  }
  return terms.map((own, image) => {
    const prior = priorTerm(steps[0]!.alphaCumprod, part(images.data, image));
    return { image, steps: own, prior, total: prior + own.reduce((sum, s) => sum + s.bound, 0) };
  });
}
