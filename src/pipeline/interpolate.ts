/** Between latents: lines, grids of four corners, and the fusion of two images. */
import { ShapeError, UsageError } from "../runtime/errors.ts";
import { checkKind, checkOptions, type OptionNames } from "../runtime/options.ts";
import { initialNoise } from "../sampler/philox.ts";
import { wholeSeed } from "../sampler/seed.ts";
import { slerp } from "../sampler/slerp.ts";
import { type InvertOptions, invert, invertNames, resolveWay } from "./invert.ts";
import type { LoadedModel } from "./loaded.ts";
import { checkImages, checkLatents, type OnImages, onImagesNames, runAll } from "./onImages.ts";
import { resolveRun } from "./run.ts";
import { stateSize } from "./size.ts";
import type { GenerateOptions, Generation, Tensor } from "./types.ts";

export interface InterpolateOptions extends OnImages {
  /** Where on the way, 0 to 1 (a little beyond is allowed); default: `n` points with both ends. */
  at?: readonly number[];
  /** Points of a line, or per side of a grid (8). */
  n?: number;
  /** Of images made from seeds; default: the model's. */
  size?: GenerateOptions["size"];
}

export interface FuseOptions extends InvertOptions {
  /** Fractions of the second image's latent (.2, .5, .8). */
  mix?: readonly number[];
}

const interpolateNames: OptionNames<InterpolateOptions> = { ...onImagesNames, at: true, n: true, size: true };
const fuseNames: OptionNames<FuseOptions> = { ...invertNames, mix: true };

/** [1, C, H, W] of a seed: x_T of its image 0. */
function latentOf({ model }: LoadedModel, corner: number | bigint | Tensor, size: GenerateOptions["size"]): Tensor {
  if (typeof corner === "object" && corner !== null && "data" in corner) return corner;
  const { height, width } = (size && stateSize(model, size)) ?? model.config.sample_size ?? { height: 0, width: 0 };
  if (height < 1) throw new UsageError("size", `${model.name} names no sample_size, so a size must be given`);
  const { stateChannels: channels } = model;
  return {
    shape: [1, channels, height, width],
    data: initialNoise(wholeSeed(corner, "corners"), 0, channels, height, width),
  };
}

/** `points` at which to look, one after the other. @throws UsageError */
function pointsOf({ at, n: asked }: Pick<InterpolateOptions, "at" | "n">): readonly number[] {
  if (at && asked !== undefined) throw new UsageError("n", "n counts the places where at names none: give one of them");
  const n = asked ?? 8;
  if (!at && !(Number.isInteger(n) && n >= 2)) throw new UsageError("n", `n must be a whole number from 2, got ${n}`);
  const points = at ?? Array.from({ length: n }, (_, i) => i / (n - 1));
  const bad = points.find((u) => !(u >= -1 && u <= 2));
  if (points.length === 0 || bad !== undefined)
    throw new UsageError("at", `at must hold numbers around 0 to 1, got ${bad ?? "none"}`);
  return points;
}

export async function interpolate(
  loaded: LoadedModel,
  corners: readonly (number | bigint | Tensor)[],
  options: InterpolateOptions,
): Promise<Generation> {
  checkOptions("interpolate", options, interpolateNames);
  checkKind("interpolate", "corners", "a list", corners);
  const { at, n, ...rest } = options;
  if (corners.length !== 2 && corners.length !== 4)
    throw new UsageError("corners", `interpolation goes between two latents or four, got ${corners.length}`);
  const points = pointsOf({ at, n });
  const latents = corners.map((corner) => latentOf(loaded, corner, options.size));
  const [first, ...others] = latents as [Tensor, ...Tensor[]];
  for (const latent of latents)
    if (checkLatents(loaded, latent, "interpolate") !== 1 || latent.shape.join() !== first.shape.join())
      throw new ShapeError("interpolate", "latents", `[${first.shape.join(", ")}] each`, latent.shape);
  const [a, b, c, d] = [first.data, ...others.map((o) => o.data)] as [
    Float32Array,
    Float32Array,
    Float32Array?,
    Float32Array?,
  ];
  const between = (u: number): Float64Array => slerp(a, b, u);
  const mixed =
    c && d
      ? points.flatMap((v) => points.map((u) => slerp(between(u), slerp(c, d, u), v)))
      : points.map((u) => between(u));
  // One latent after another differs by its place alone, so all have one class unless classes are given.
  const classes = options.classes ?? (loaded.model.classCount > 0 ? [0] : undefined);
  const run = resolveRun(loaded.model, { ...rest, classes, noise: stack(mixed, first.shape) });
  return runAll(loaded, run, options);
}

function stack(latents: readonly Float64Array[], [, ...shape]: readonly number[]): Tensor {
  const size = shape.reduce((x, y) => x * y, 1);
  const data = new Float32Array(latents.length * size);
  for (const [i, latent] of latents.entries()) data.set(latent, i * size);
  return { shape: [latents.length, ...shape], data };
}

export async function fuse(loaded: LoadedModel, a: Tensor, b: Tensor, options: FuseOptions): Promise<Generation> {
  checkOptions("fuse", options, fuseNames);
  const { mix = [0.2, 0.5, 0.8], ...rest } = options;
  const points = pointsOf({ at: mix });
  for (const [image, name] of [[a, "first image"] as const, [b, "second image"] as const])
    if (checkImages(loaded, image, "fuse") !== 1 || image.shape.join() !== a.shape.join())
      throw new ShapeError("fuse", name, `[${a.shape.join(", ")}]`, image.shape);
  if (rest.convention === "exact")
    throw new UsageError(
      "convention",
      "exact latents come in pairs that cannot be mixed; use fixed-point, next or current",
    );
  if (rest.concat && rest.concat.shape[0] !== 1)
    throw new ShapeError("fuse", "concat", "[1, C, H, W], the same for both images", rest.concat.shape);
  const both = Float32Array.from([...a.data, ...b.data]);
  const { latents } = await invert(loaded, { shape: [2, ...a.shape.slice(1)], data: both }, rest);
  const half = latents.data.length / 2;
  const [za, zb] = [latents.data.subarray(0, half), latents.data.subarray(half)];
  const run = resolveWay(
    loaded,
    stack(
      points.map((u) => slerp(za, zb, u)),
      latents.shape,
    ),
    rest,
  );
  return runAll(loaded, run, options);
}
