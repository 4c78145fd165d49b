/** onnxruntime on the CPU, an implementation that shares nothing with ours. `npm test` installs it (bench/peers). */
import { createRequire } from "node:module";
import type { ForwardInputs, Tensor } from "../../src/pipeline/types.ts";

interface OrtTensor {
  readonly dims: readonly number[];
  readonly data: unknown;
}
interface OrtSession {
  readonly inputNames: readonly string[];
  run(feeds: Readonly<Record<string, OrtTensor>>): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}
interface Ort {
  readonly Tensor: new (type: "float32" | "int64", data: unknown, dims: readonly number[]) => OrtTensor;
  readonly InferenceSession: {
    create(model: Uint8Array | string, options: Readonly<Record<string, unknown>>): Promise<OrtSession>;
  };
}

/** Not part of this package's lock file, and typed here, so that the sources can be checked without it. */
function load(): Ort {
  const require = createRequire(new URL("../../bench/peers/package.json", import.meta.url));
  try {
    return require("onnxruntime-node");
  } catch (cause) {
    throw new Error("onnxruntime is not installed: node scripts/install-peers.mjs", { cause });
  }
}

/** An exported network evaluated once: the bytes of an ONNX file, or its path. */
export async function evaluateOnnx(model: Uint8Array | string, inputs: ForwardInputs): Promise<Tensor> {
  const ort = load();
  // Errors only; one thread, as other test files run at the same time.
  const options = { executionProviders: ["cpu"], logSeverityLevel: 3, intraOpNumThreads: 1 };
  const session = await ort.InferenceSession.create(model, options);
  try {
    const { sample, timestep, classLabels, classVectors, context, textEmbeds, timeIds, timestepCond } = inputs;
    const floats = ({ shape, data }: Tensor) => new ort.Tensor("float32", data, shape);
    const integers = (values: readonly number[]) =>
      new ort.Tensor("int64", BigInt64Array.from(values.map(BigInt)), [values.length]);
    const feeds: Record<string, OrtTensor> = { sample: floats(sample), timestep: integers(timestep) };
    if (classLabels) feeds.class_labels = integers(classLabels);
    if (classVectors) feeds.class_labels = floats(classVectors);
    if (context) feeds.encoder_hidden_states = floats(context);
    if (textEmbeds) feeds.text_embeds = floats(textEmbeds);
    if (timestepCond) feeds.timestep_cond = floats(timestepCond);
    if (timeIds) feeds.time_ids = floats(timeIds);
    const { dims, data } = (await session.run(feeds)).output as OrtTensor;
    return { shape: dims, data: data as Float32Array };
  } finally {
    await session.release();
  }
}
