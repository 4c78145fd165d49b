/** Option objects of the library, as programs without types would pass them. */
import { sample } from "../../../src/index.ts";
import { folderSource } from "../../../src/node/folder.ts";
import { readImage } from "../../../src/node/image.ts";
import { loadPipeline } from "../../../src/node/index.ts";
import { openAutoencoder, openModel } from "../../../src/node/model.ts";
import { toNodeSource } from "../../../src/node/source.ts";
import { createPipeline } from "../../../src/pipeline/load.ts";
import { resolveRun } from "../../../src/pipeline/run.ts";
import { DeviceError } from "../../../src/runtime/errors.ts";
import { makeSchedule } from "../../../src/sampler/schedule.ts";
import { pickleSource } from "../../../src/weights/pickle/source.ts";
import { memorySource } from "../../weights/memory-source.ts";
import { every, type Target } from "../harness.ts";
import { decode, encode, mutatedJson } from "../mutate.ts";
import { optionValue, revive } from "../values.ts";

const [pixels, attending] = await Promise.all(
  ["weights/pixel-avatars-16", "test/golden/models/sd1"].map((path) => openModel(folderSource(path))),
);

/** Of options written as JSON. */
function ofOptions(
  name: string,
  seeds: readonly object[],
  use: (options: never) => unknown,
  /** Options of which some reader does not know some. */
  more: readonly object[] = [],
): Target {
  return {
    name,
    seeds: seeds.map((seed) => encode(JSON.stringify(seed))),
    input: mutatedJson([...seeds, ...more], optionValue),
    async read(bytes) {
      let json: unknown = null;
      try {
        json = JSON.parse(decode(bytes));
      } catch {
        // Null is as good as any.
      }
      return use(revive(json) as never);
    },
  };
}

const zeros = (...shape: number[]) => ({ shape, data: { $: `floats ${shape.reduce((a, b) => a * b, 1)}` } });
const runs = [
  {
    seed: 1,
    steps: 3,
    count: 2,
    batch: 1,
    eta: 0.5,
    spacing: "trailing",
    sampler: "ddim",
    size: { height: 16, width: 16 },
  },
  { seed: 2, timesteps: [900, 500, 1], timestepBase: 0, classes: [0, 1], guidance: 2, negativeClass: 1, firstImage: 3 },
  { seed: 3, steps: 4, sampler: "ddpm", sigma: "posterior", temperature: 0.5, clip: false, compat: "diffusers" },
  { seed: 4, steps: 4, threshold: { ratio: 0.9, max: 1.5 }, rng: "torch", antithetic: true, start: 900, stop: 10 },
  { seed: 5, steps: 3, noise: zeros(1, 3, 16, 16), statistics: true, guidanceInterval: [0, 500], guidance: [1, 3] },
  {
    ...{ seed: 6, steps: 6, count: 1, guidance: 2, guidanceRescale: 0.5 },
    inpaint: { known: zeros(1, 3, 16, 16), mask: zeros(1, 1, 16, 16), repaint: { jump: 2, resamples: 2 }, paste: true },
  },
];
const width = attending!.config.context_dim as number;
const attended = [
  { seed: 1, steps: 2, context: zeros(1, 2, width) },
  { seed: 1, steps: 2, context: zeros(2, 2, width), guidance: 3, negativeContext: zeros(1, 2, width) },
];

const described = (model: typeof pixels, options: never) => {
  const { seed, schedule, plan, ...rest } = resolveRun(model!, options);
  // Without a seed there is another each time.
  const given = Object(options).seed === undefined ? null : seed;
  return { given, steps: schedule.steps, rows: plan.rows, ...rest };
};

const schedule = makeSchedule({ steps: 2 });

const noDevice = async () => {
  throw new DeviceError("unsupported", "no adapter");
};
const loads = [{ dtype: "f16", precision: "high", memory: 1e9, nonFinite: "warn" }, { tune: false }];
const others = [
  ...[
    { unknown: "warn", weights: "plain" },
    { variant: "fp16", cache: "/dev/null/x" },
  ],
  { config: { _class_name: "UNet2DModel" }, threads: 1, fast: true, device: {} },
];

export const options: readonly Target[] = [
  ofOptions(
    "schedule",
    [
      { steps: 10, eta: 0.3, spacing: "linspace", num_train_timesteps: 100, beta_schedule: "scaled_linear" },
      { timesteps: [99, 50, 0], sampler: "ddpm", variance_type: "learned_range", beta_end: 0.01 },
      {
        steps: 3,
        trained_betas: [0.1, 0.2, 0.3],
        prediction: "v_prediction",
        threshold: { ratio: 0.9, max: 1 },
        eta: [0, 1, 0],
      },
      { steps: 5, sampler: "dpmpp2m", solver_order: 2, start: 900, stop: 10, rescale_betas_zero_snr: false },
    ],
    makeSchedule,
  ),
  ofOptions("generate", runs, (given) => described(pixels, given)),
  ofOptions("contexts", attended, (given) => described(attending, given)),
  ofOptions(
    "open",
    [{}, { unknown: "warn" }],
    (given) =>
      every([
        async () => (await openModel(pixels!.source, given)).config,
        async () => (await openAutoencoder(folderSource("test/golden/autoencoders/kl"), given)).spec,
        async () => (await pickleSource(memorySource({ "a.pt": encode("\x80\x02}.") }), "a.pt", given)).leftOut,
        async () => (await readImage("weights/pixel-avatars-16.png", given)).width,
      ]),
    [{ firstStage: true, weights: "ema", randomWeights: { $: "bigint 1" }, variant: "fp16", maxPixels: 1e6 }],
  ),
  ofOptions(
    "load",
    loads,
    (given) =>
      every([
        () => createPipeline(pixels!, given, noDevice),
        () => loadPipeline({ read: async () => undefined }, given),
        () => loadPipeline(given, {}),
        () => toNodeSource(given).name,
      ]),
    others,
  ),
  ofOptions(
    "sample",
    [
      {
        schedule: { $: "undefined" },
        xT: [0, 0],
        shape: [1, 1, 1, 2],
        denoise: { $: "function" },
        seed: 1,
        mask: [1, 0],
        known: [0, 0],
      },
    ],
    (given: Record<string, unknown> | null) =>
      sample(
        (typeof given === "object" && given && "schedule" in given
          ? { ...given, schedule: given.schedule ?? schedule }
          : given) as never,
      ),
  ),
];
