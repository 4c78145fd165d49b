/** What networks read beside the sampler's state: further channels that stand after it, the same in every step. */
import type { ImageSize } from "../network/configReader.ts";
import { ShapeError, UsageError } from "../runtime/errors.ts";
import type { ConcatInput } from "./divideInput.ts";
import type { Model } from "./model.ts";
import type { GenerateOptions, Tensor } from "./types.ts";

/** For messages. */
export const concatNames: Readonly<Record<ConcatInput["kind"], string>> = {
  picture: "a low-resolution picture",
  "mask-masked": "a mask and the latents of the masked picture",
  "masked-mask": "the latents of the masked picture and a mask",
  unknown: "what it was trained with",
};

/** What makes the channels of pictures. */
const COMMANDS: Readonly<Record<ConcatInput["kind"], string>> = {
  picture: "use ddim upscale IMAGE, or ",
  "mask-masked": "use ddim edit IMAGE --mask FILE, or ",
  "masked-mask": "use ddim edit IMAGE --mask FILE, or ",
  unknown: "",
};

/** What a network lacks. */
export function missingConcat({ name, config, stateChannels, concat }: Model): UsageError {
  const { channels, kind } = concat as ConcatInput;
  return new UsageError(
    "concat",
    `${name} takes ${config.in_channels} channels, ${stateChannels} of the state and ${channels} that are missing, ` +
      `${concatNames[kind]}: ${COMMANDS[kind]}give them as concat (--concat FILE)`,
  );
}

/** Whether a network is given what it takes. @throws UsageError */
export function checkConcat(model: Model, { concat }: Pick<GenerateOptions, "concat">): void {
  if (model.config.self_condition)
    throw new UsageError(
      "model",
      `${model.name} reads the picture that the step before made out (self_condition), which only ddim forward gives it yet`,
    );
  if (concat && !model.concat)
    throw new UsageError("concat", `${model.name} takes nothing beside its state, and no concat`);
  if (!concat && model.concat) throw missingConcat(model);
}

/** Images that a concat is for; undefined where it does not say. */
export const concatCount = ({ concat }: Pick<GenerateOptions, "concat">): number | undefined => {
  const count = concat?.shape[0] ?? 1;
  return count > 1 ? count : undefined;
};

/** After {@link checkConcat}: the tensor, checked; undefined for networks that take none. @throws UsageError, ShapeError */
export function resolveConcat(
  model: Model,
  { concat }: Pick<GenerateOptions, "concat">,
  count: number,
  { height, width }: ImageSize,
): Tensor | undefined {
  if (!concat || !model.concat) return undefined;
  const { shape, data } = concat;
  const rest = [model.concat.channels, height, width];
  const [given = 0] = shape;
  const expected = `[${count === 1 ? "" : "1 or "}${count}, ${rest.join(", ")}]`;
  if ((given !== 1 && given !== count) || shape.slice(1).join() !== rest.join())
    throw new ShapeError("generate", "concat", expected, shape);
  const wanted = shape.reduce((a, b) => a * b, 1);
  if (data.length !== wanted) throw new ShapeError("generate", "concat", `${wanted} values`, [data.length]);
  return concat;
}

/** Of images `first` and on, once more for those without the condition: [copies · images, C, H, W]. */
export function concatOf({ shape, data }: Tensor, first: number, images: number, copies: number): Float32Array {
  const size = data.length / (shape[0] as number);
  const out = new Float32Array(copies * images * size);
  for (let i = 0; i < copies * images; i++) {
    const image = shape[0] === 1 ? 0 : first + (i % images);
    out.set(data.subarray(image * size, (image + 1) * size), i * size);
  }
  return out;
}

/** Channels of `b` after those of `a`, image by image. */
export function joinChannels(a: Tensor, b: Tensor): Tensor {
  const [n = 0, channels = 0, ...size] = a.shape;
  const [m = 0, more = 0] = b.shape;
  const parts = [a.data.length / n, b.data.length / m] as const;
  const data = new Float32Array(n * (parts[0] + parts[1]));
  for (let i = 0; i < n; i++) {
    const j = m === 1 ? 0 : i;
    data.set(a.data.subarray(i * parts[0], (i + 1) * parts[0]), i * (parts[0] + parts[1]));
    data.set(b.data.subarray(j * parts[1], (j + 1) * parts[1]), i * (parts[0] + parts[1]) + parts[0]);
  }
  return { shape: [n, channels + more, ...size], data };
}
