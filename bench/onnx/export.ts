/** A model's network as an ONNX file on disk. */
import { closeSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { basename } from "node:path";
import { writeFile } from "../../src/cli/output.ts";
import type { ImageSize } from "../../src/network/configReader.ts";
import { placeToWrite } from "../../src/node/place.ts";
import type { Model } from "../../src/pipeline/model.ts";
import { checkSize } from "../../src/pipeline/size.ts";
import { UsageError } from "../../src/runtime/errors.ts";
import { buildUNet } from "../../src/unet/build.ts";
import { type EncodeOptions, encodeOnnx, type ReadParam, weightBytes } from "./encode.ts";
import { describeNetwork, type OnnxGraph, type OnnxOptions } from "./network.ts";

export interface ExportOptions extends Partial<OnnxOptions> {
  /** Height and width of the images (the model's own size). */
  readonly size?: ImageSize;
  /** Tokens of the context, where there is one and the batch is not left open (the network's default). */
  readonly contextLength?: number;
}

/** Weights beyond this many bytes go into a file of their own: encoding holds several copies, protobuf ends at 2 GiB. */
const INLINE_BYTES = 2 ** 30;

/**
 * The network of a model as a graph of ONNX, without weights.
 * @throws UsageError when the size is missing or does not fit; ConfigError for layers that cannot be exported
 */
export function exportGraph(model: Model, options: ExportOptions = {}): OnnxGraph {
  const { batch = 1, style = "expanded", dtype = "f32", timeIds = 6 } = options;
  // A class is one token.
  const contextLength = options.contextLength ?? (model.classEmbedder ? 1 : undefined);
  const size = options.size ?? model.config.sample_size;
  if (!size) throw new UsageError("size", `${model.name} has no image size of its own: --size is needed`);
  const init = { size: checkSize(model, size), dtype, storage: "buffer", timesteps: "image", contextLength } as const;
  return describeNetwork(buildUNet(model.config, init), model.config, { batch, style, dtype, timeIds });
}

/** Reads parameters wherever the checkpoint's layout has them. */
function paramsOf({ checkpoint, naming }: Model): ReadParam {
  return async (param, signal) => {
    const { name, channels } = naming.locate(param);
    const values = await checkpoint.read(name, signal);
    if (!channels) return values;
    const length = param.shape.slice(1).reduce((a, b) => a * b, 1);
    const out = new Float32Array(channels.length * length);
    channels.forEach((channel, i) => {
      out.set(values.subarray(channel * length, (channel + 1) * length), i * length);
    });
    return out;
  };
}

/** A model's network as the bytes of an ONNX file that holds its weights. */
export const toOnnx = (model: Model, options: ExportOptions = {}): Promise<Uint8Array> =>
  encodeOnnx(exportGraph(model, options), paramsOf(model));

/**
 * Writes `path` and, for large networks or where asked for, `path`.data with the weights. Replaces what is there.
 * @returns bytes of both
 */
export async function writeOnnx(
  path: string,
  model: Model,
  graph: OnnxGraph,
  options: Omit<EncodeOptions, "external"> & { externalData?: boolean } = {},
): Promise<number> {
  const { externalData = weightBytes(graph) > INLINE_BYTES, ...rest } = options;
  if (!externalData) {
    const bytes = await encodeOnnx(graph, paramsOf(model), rest);
    writeFile(path, bytes);
    return bytes.byteLength;
  }
  const data = `${path}.data`;
  const place = placeToWrite(data);
  const temporary = `${place}.tmp`;
  const file = openSync(temporary, "w");
  let written = 0;
  const write = (bytes: Uint8Array) => {
    for (let at = 0; at < bytes.byteLength; ) at += writeSync(file, bytes, at);
    written += bytes.byteLength;
  };
  try {
    const bytes = await encodeOnnx(graph, paramsOf(model), { ...rest, external: { location: basename(data), write } });
    renameSync(temporary, place);
    writeFile(path, bytes);
    return written + bytes.byteLength;
  } finally {
    closeSync(file);
    rmSync(temporary, { force: true });
  }
}
