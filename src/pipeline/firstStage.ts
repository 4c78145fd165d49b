/** Pictures to what the network works on, and back. */
import { checkKind, checkOptions } from "../runtime/options.ts";
import type { LoadedModel } from "./loaded.ts";
import { signalNames } from "./options.ts";
import type { Tensor } from "./types.ts";

/** @returns what is given, where the network works on pixels */
async function code(
  way: "encode" | "decode",
  loaded: LoadedModel,
  given: Tensor,
  options: { signal?: AbortSignal },
): Promise<Tensor> {
  checkOptions(way, options, signalNames);
  checkKind(way, way === "encode" ? "images" : "latents", "a tensor { shape, data: Float32Array }", given);
  const { signal } = options;
  const { firstStage, turns } = loaded;
  if (!firstStage) return given;
  const check = turns.checker(signal);
  const { encodeImages, decodeLatents } = await import("./latents.ts");
  const work =
    way === "encode"
      ? () => encodeImages(loaded.model, firstStage, given, signal)
      : () => decodeLatents(firstStage, given, check, loaded.judge);
  return turns.take(work, check, signal);
}

export const encode = (loaded: LoadedModel, images: Tensor, options: { signal?: AbortSignal } = {}): Promise<Tensor> =>
  code("encode", loaded, images, options);

export const decode = (loaded: LoadedModel, latents: Tensor, options: { signal?: AbortSignal } = {}): Promise<Tensor> =>
  code("decode", loaded, latents, options);
