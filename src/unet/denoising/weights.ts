/** Where the parameters of these networks are in their checkpoints, and what is made of them as they are read. */

import type { Naming } from "../../network/naming.ts";
import { padded4 } from "../../runtime/values.ts";
import { Checkpoint } from "../../weights/checkpoint.ts";
import { decodeFloats } from "../../weights/convert.ts";
import type { ExpectedTensor, TensorSource } from "../../weights/match.ts";
import type { Shapes } from "./traits.ts";

/** What the values of a tensor of this shape become. */
type Change = (values: Float32Array, shape: readonly number[]) => Float32Array;

/** WeightStandardizedConv2d; the post's multiplies by the deviation: (w − mean)/rsqrt(var + eps). */
const standardise =
  (multiplied: boolean): Change =>
  (values, [rows = 1]) => {
    const count = values.length / rows;
    const out = new Float32Array(values.length);
    for (let r = 0; r < rows; r++) {
      const row = values.subarray(r * count, (r + 1) * count);
      const mean = row.reduce((sum, v) => sum + v, 0) / count;
      const deviation = Math.sqrt(row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / count + 1e-5);
      const factor = multiplied ? deviation : 1 / deviation;
      row.forEach((v, i) => {
        out[r * count + i] = (v - mean) * factor;
      });
    }
    return out;
  };

/** Outputs first, as the weights of other convolutions are. */
const outputsFirst: Change = (values, [inputs = 1, outputs = 1, ...side]) => {
  const taps = side.reduce((a, b) => a * b, 1);
  const out = new Float32Array(values.length);
  for (let i = 0; i < inputs; i++)
    for (let o = 0; o < outputs; o++)
      out.set(values.subarray((i * outputs + o) * taps, (i * outputs + o + 1) * taps), (o * inputs + i) * taps);
  return out;
};

/** Learned keys and values, [2, heads, tokens, channels] or, for linear attention, [2, heads, channels, tokens], token by token. */
const byToken =
  (linear: boolean): Change =>
  (values, [, heads = 1, a = 1, b = 1]) => {
    const [tokens, width] = linear ? [b, a] : [a, b];
    const stored = padded4(width);
    const out = new Float32Array(tokens * 2 * heads * stored);
    for (let h = 0; h < 2 * heads; h++)
      for (let t = 0; t < tokens; t++)
        for (let c = 0; c < width; c++)
          out[(t * 2 * heads + h) * stored + c] = values[(h * a + (linear ? c : t)) * b + (linear ? t : c)] as number;
    return out;
  };

/** The picture that the network has made so far stands before x in the checkpoint's input, and behind it in ours. */
const stateFirst: Change = (values, [rows = 1, inputs = 1]) => {
  const half = values.length / rows / 2;
  const out = new Float32Array(values.length);
  for (let i = 0; i < 2 * rows; i++) out.set(values.subarray((i ^ 1) * half, ((i ^ 1) + 1) * half), i * half);
  return inputs % 2 === 0 ? out : values;
};

export interface DenoisingWeights {
  readonly prefix: string;
  readonly standardised: "divided" | "multiplied" | null;
  readonly selfCondition: boolean;
  /** Whether attention in a module is linear. */
  linear(module: string): boolean;
  /** Of the learned tokens in a module, by its path. */
  memoryShape(module: string): readonly number[];
  /** How levels change the size. */
  readonly down: "strided" | "space";
  readonly up: "transposed" | "nearest";
}

const MEMORY = /^(.*)\.mem_kv$/;

/** What becomes of a tensor; undefined: it is taken as it is. */
function changeOf(weights: DenoisingWeights, name: string): Change | undefined {
  const memory = MEMORY.exec(name)?.[1];
  if (memory !== undefined) return byToken(weights.linear(memory));
  if (weights.standardised && /block[12]\.proj\.weight$/.test(name))
    return standardise(weights.standardised === "multiplied");
  if (weights.up === "transposed" && /^ups\.\d+\.3\.weight$/.test(name)) return outputsFirst;
  return weights.selfCondition && name === "init_conv.weight" ? stateFirst : undefined;
}

function shapeOf(weights: DenoisingWeights, { name, shape }: ExpectedTensor): readonly number[] {
  const memory = MEMORY.exec(name)?.[1];
  if (memory !== undefined) return weights.memoryShape(memory);
  const [a = 1, b = 1, ...rest] = shape;
  if (/\.[gb]$/.test(name)) return [1, a, 1, 1];
  if (weights.down === "space" && /^downs\.\d+\.3\.1\.weight$/.test(name)) return [a, 4 * b, 1, 1];
  return weights.up === "transposed" && /^ups\.\d+\.3\.weight$/.test(name) ? [b, a, ...rest] : shape;
}

const OUTSIDE: Readonly<Record<string, string>> = {
  time_proj: "time_mlp.0",
  "time_embedding.linear_1": "time_mlp.1",
  "time_embedding.linear_2": "time_mlp.3",
};

export function denoisingNaming(weights: DenoisingWeights): Naming {
  const module = (path: string) => weights.prefix + (OUTSIDE[path] ?? path);
  return {
    module,
    locate(param): TensorSource {
      const at = param.name.lastIndexOf(".");
      const [path, leaf] = [param.name.slice(0, at), param.name.slice(at + 1)];
      const name = path === "time_proj" ? `${module(path)}.weights` : `${module(path)}.${leaf}`;
      return { name, shape: shapeOf(weights, param) };
    },
  };
}

/** A checkpoint whose tensors are what the network computes with. */
class ChangedCheckpoint extends Checkpoint {
  readonly #change: (name: string) => Change | undefined;

  constructor(plain: Checkpoint, change: (name: string) => Change | undefined) {
    const { source, file, tensors, metadata, prefix, warnings } = plain;
    super(source, file, tensors, metadata, { hashed: true, prefix, warnings: [...warnings] });
    this.#change = change;
  }

  override async *pieces(...[names, options]: Parameters<Checkpoint["pieces"]>): ReturnType<Checkpoint["pieces"]> {
    const whole = new Map<string, Uint8Array<ArrayBuffer>>();
    for await (const piece of super.pieces(names, options)) {
      const { name, tensor, offset, bytes } = piece;
      const change = this.#change(name);
      if (!change) {
        yield piece;
        continue;
      }
      const length = tensor.end - tensor.start;
      const own = whole.get(name) ?? new Uint8Array(length);
      whole.set(name, own);
      own.set(bytes, offset);
      if (offset + bytes.byteLength < length) continue;
      whole.delete(name);
      const count = tensor.shape.reduce((a, b) => a * b, 1);
      const values = change(decodeFloats(tensor.dtype, own, new Float32Array(count)), tensor.shape);
      const changed = { ...tensor, dtype: "F32" as const, start: 0, end: values.byteLength };
      yield { ...piece, tensor: changed, offset: 0, bytes: new Uint8Array(values.buffer as ArrayBuffer) };
    }
  }
}

export const changedCheckpoint = (plain: Checkpoint, weights: DenoisingWeights): Checkpoint =>
  new ChangedCheckpoint(plain, (name) => changeOf(weights, name.slice(weights.prefix.length)));

/** Shapes by the names of tensors, and what stands before all of the network's. */
export function shapesOf(tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>): {
  prefix: string;
  shapes: Shapes;
} {
  const prefix = tensors.has("model.init_conv.weight") ? "model." : "";
  const own = [...tensors].filter(([name]) => name.startsWith(prefix));
  return { prefix, shapes: new Map(own.map(([name, { shape }]) => [name.slice(prefix.length), shape])) };
}
