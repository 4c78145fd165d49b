// Times onnxruntime-node on DIR/model.onnx with the inputs of DIR/io.safetensors: node time.mjs DIR webgpu|cpu SECONDS.
// Prints {"ms", "runs", "nmse"}; nmse compares with the file's `output`.
import { readFileSync } from "node:fs";
import process from "node:process";
import ort from "onnxruntime-node";

const [dir, provider, seconds] = process.argv.slice(2);
const file = readFileSync(`${dir}/io.safetensors`);
const headerBytes = Number(file.readBigUInt64LE(0));
const header = JSON.parse(file.toString("utf8", 8, 8 + headerBytes));

/** @param {string} name */
function tensor(name) {
  const { dtype, shape, data_offsets: offsets } = header[name];
  const bytes = Uint8Array.from(file.subarray(8 + headerBytes + offsets[0], 8 + headerBytes + offsets[1])).buffer;
  return dtype === "I64"
    ? new ort.Tensor("int64", new BigInt64Array(bytes), shape)
    : new ort.Tensor("float32", new Float32Array(bytes), shape);
}

const session = await ort.InferenceSession.create(`${dir}/model.onnx`, {
  executionProviders: [provider],
  graphOptimizationLevel: "all",
});
const feeds = Object.fromEntries(session.inputNames.map((name) => [name, tensor(name)]));
const expected = tensor("output").data;
const { output } = await session.run(feeds);
let error = 0;
let energy = 0;
expected.forEach((v, i) => {
  error += (output.data[i] - v) ** 2;
  energy += v ** 2;
});
const times = [];
const end = performance.now() + 1000 * Number(seconds);
while (performance.now() < end || times.length < 3) {
  const start = performance.now();
  await session.run(feeds);
  times.push(performance.now() - start);
}
times.sort((a, b) => a - b);
console.log(JSON.stringify({ ms: times[times.length >> 1], runs: times.length, nmse: error / energy }));
process.exit(0);
