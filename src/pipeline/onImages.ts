/** What operations on given images have in common. */
import { ShapeError } from "../runtime/errors.ts";
import { checkKind, type OptionNames, without } from "../runtime/options.ts";
import type { LoadedModel } from "./loaded.ts";
import type { Model } from "./model.ts";
import { generateNames } from "./options.ts";
import { finish, withResult } from "./results.ts";
import type { ResolvedRun } from "./run.ts";
import { type RunResult, runSteps } from "./steps.ts";
import type { GenerateOptions, Tensor } from "./types.ts";

const choosing = ["noise", "count", "size", "rng", "inpaint", "resume", "antithetic"] as const;

/** Without the options that choose images themselves, which operations on given images do not take. */
export type OnImages = Omit<GenerateOptions, (typeof choosing)[number]>;

export const onImagesNames: OptionNames<OnImages> = without(generateNames, ...choosing);

/** A run to its end. */
export const runAll = (
  loaded: LoadedModel,
  run: ResolvedRun,
  options: Pick<GenerateOptions, "signal" | "onStep" | "onBatch" | "profile" | "pixels">,
): Promise<RunResult> => finish(withResult(runSteps(loaded, run, options)), options.onStep);

function checkTensor(tensor: Tensor, name: string, what: string, channels: number): number {
  checkKind(name, what, "a tensor { shape, data: Float32Array }", tensor);
  const { shape, data } = tensor;
  const [n = 0, c, h = 0, w = 0] = shape;
  if (shape.length !== 4 || n < 1 || c !== channels || data.length !== n * c * h * w)
    throw new ShapeError(name, what, `[N, ${channels}, H, W]`, shape);
  return n;
}

/** @returns how many images there are. @throws ShapeError naming `name` */
export const checkImages = ({ model }: LoadedModel, images: Tensor, name: string): number =>
  checkTensor(images, name, "images", model.firstStage?.spec.in_channels ?? model.stateChannels);

/** @returns how many states of the sampler there are. @throws ShapeError naming `name` */
export const checkLatents = ({ model }: LoadedModel, latents: Tensor, name: string): number =>
  checkTensor(latents, name, "latents", model.stateChannels);

/** The classes of images whose class is unknown: the model's "no class", where it has one. */
export const defaultClasses = ({ nullClass }: Model): readonly number[] | undefined =>
  nullClass === null ? undefined : [nullClass];
