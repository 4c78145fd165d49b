/** Single evaluations of the network, and how long they take: for parity checks and benchmarks. */
import type { Weights } from "../network/weights.ts";
import { inBatches } from "../runtime/batches.ts";
import { checkOptions } from "../runtime/options.ts";
import type { KernelTiming } from "../runtime/profiler.ts";
import { Evaluation } from "./evaluation.ts";
import { HeldEvaluation } from "./held.ts";
import type { LoadedModel } from "./loaded.ts";
import { signalNames } from "./options.ts";
import type { ForwardInputs, Tensor } from "./types.ts";

export interface ForwardTiming {
  /** Median milliseconds of one evaluation. */
  readonly ms: number;
  readonly msMin: number;
  readonly runs: number;
  readonly peakBytes: number;
}

/** Evaluations per measurement grow until one measurement takes this long, so that waking up does not count. */
const MEASURE_MS = 200;

/** Evaluates all images, a batch at a time. */
export async function* evaluateAll<T>(
  evaluation: Evaluation,
  read: (held: HeldEvaluation) => Promise<T>,
  weights?: Weights,
): ReturnType<typeof inBatches<T>> {
  evaluation.checkFinite();
  yield* inBatches(evaluation.images, evaluation.batchLimit, async (from, most) => {
    evaluation.check();
    const held = await HeldEvaluation.create(evaluation, { from, most, weights });
    try {
      await held.run();
      return await read(held);
    } finally {
      await held.dispose();
    }
  });
}

/** The whole output, [N, out_channels, H, W]. */
export async function evaluate(evaluation: Evaluation): Promise<Tensor> {
  const { output } = evaluation.lowered.network;
  const { images: n } = evaluation;
  const [h, w, c] = output.shape as [number, number, number];
  const data = new Float32Array(n * c * h * w);
  const read = async (held: HeldEvaluation) => {
    const part = await held.read(output);
    await held.judge(part.data);
    return part.data;
  };
  for await (const { first, made } of evaluateAll(evaluation, read)) data.set(made, first * c * h * w);
  return { shape: [n, c, h, w], data };
}

export async function forward(
  loaded: LoadedModel,
  inputs: ForwardInputs,
  options: { signal?: AbortSignal },
): Promise<Tensor> {
  checkOptions("forward", options, signalNames);
  const evaluation = new Evaluation(loaded, inputs, options);
  return evaluation.inTurn(() => evaluate(evaluation));
}

export const hold = (loaded: LoadedModel, inputs: ForwardInputs): Promise<HeldEvaluation> =>
  HeldEvaluation.create(new Evaluation(loaded, inputs), { all: true });

/** What is made of an evaluation that stays on the GPU meanwhile, in its turn. */
function holding<T>(
  loaded: LoadedModel,
  inputs: ForwardInputs,
  all: boolean,
  work: (held: HeldEvaluation) => Promise<T>,
): Promise<T> {
  const evaluation = new Evaluation(loaded, inputs);
  return evaluation.inTurn(async () => {
    const held = await HeldEvaluation.create(evaluation, { all });
    try {
      return await work(held);
    } finally {
      await held.dispose();
    }
  });
}

/** GPU times of the kernels of one evaluation, of as many images as one batch takes. */
export const profile = (loaded: LoadedModel, inputs: ForwardInputs): Promise<KernelTiming[]> =>
  holding(loaded, inputs, false, (held) => held.profile());

export const benchmark = (loaded: LoadedModel, inputs: ForwardInputs, seconds: number): Promise<ForwardTiming> =>
  holding(loaded, inputs, true, async (held) => {
    await held.time(2);
    const repeats = Math.max(1, Math.ceil(MEASURE_MS / (await held.time(1))));
    const times: number[] = [];
    const end = performance.now() + seconds * 1000;
    do times.push(await held.time(repeats));
    while (performance.now() < end || times.length < 3);
    times.sort((a, b) => a - b);
    return {
      ms: times[times.length >> 1] as number,
      msMin: times[0] as number,
      runs: times.length * repeats,
      peakBytes: loaded.device.counters.peakBytes,
    };
  });
