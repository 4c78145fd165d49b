// onnxruntime-node as a peer of the benchmarks: node ort.mjs cpu|webgpu. Commands as JSON lines on stdin, see
// bench/harness/protocol.ts.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { cpus } from "node:os";
import process from "node:process";
import { createInterface } from "node:readline";
import ort from "onnxruntime-node";

const provider = process.argv[2] ?? "cpu";
const threads = cpus().length;
const { version } = createRequire(import.meta.url)("onnxruntime-node/package.json");

/**
 * The best settings of each provider. NHWC is the WebGPU provider's own layout. Graph capture is asked for; results stay
 * right with it, and times did not change: it wants tensors bound on the GPU, which the Node binding does not offer.
 * @type {import("onnxruntime-node").InferenceSession.SessionOptions}
 */
const options =
  provider === "cpu"
    ? { executionProviders: ["cpu"], graphOptimizationLevel: "all", intraOpNumThreads: threads }
    : {
        executionProviders: [
          /** @type {any} */ ({ name: "webgpu", preferredLayout: "NHWC", validationMode: "disabled" }),
        ],
        graphOptimizationLevel: "all",
        enableGraphCapture: true,
      };
const settings =
  provider === "cpu"
    ? { provider, threads, "graph optimisation": "all" }
    : { provider, layout: "NHWC", validation: "disabled", "graph capture": "asked for", "graph optimisation": "all" };

/** @type {import("onnxruntime-node").InferenceSession | undefined} */
let session;
/** @type {Record<string, import("onnxruntime-node").Tensor>} */
let feeds = {};
/** @type {import("onnxruntime-node").Tensor | undefined} */
let noise;
/** @type {any} */
let job;

/**
 * Every tensor of a safetensors file.
 * @param {string} path
 */
function readTensors(path) {
  const file = readFileSync(path);
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + headerBytes));
  const entries = Object.entries(header).filter(([name]) => name !== "__metadata__");
  return Object.fromEntries(
    entries.map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [from, to],
        },
      ]) => {
        const bytes = Uint8Array.from(file.subarray(8 + headerBytes + from, 8 + headerBytes + to)).buffer;
        const tensor =
          dtype === "I64"
            ? new ort.Tensor("int64", new BigInt64Array(bytes), shape)
            : new ort.Tensor("float32", new Float32Array(bytes), shape);
        return [name, tensor];
      },
    ),
  );
}

async function evaluate() {
  if (!session) throw new Error("nothing is open");
  const results = await session.run(feeds);
  return /** @type {Float32Array} */ (results[session.outputNames[0] ?? ""]?.data);
}

/** DDIM with eta 0 on the host, as a good user of onnxruntime would write it. */
async function sample() {
  const { steps, prediction, clip } = job.loop;
  if (!noise) throw new Error("the inputs have no sample");
  const x = Float32Array.from(/** @type {Float32Array} */ (noise.data));
  feeds.sample = new ort.Tensor("float32", x, noise.dims);
  const dims = feeds.timestep?.dims ?? [];
  for (const { t, alpha, alphaPrev } of steps) {
    feeds.timestep = new ort.Tensor("int64", new BigInt64Array(dims[0] ?? 1).fill(BigInt(t)), dims);
    const output = await evaluate();
    const [a, s, ap, sp] = [alpha, 1 - alpha, alphaPrev, 1 - alphaPrev].map((v) => Math.sqrt(Math.max(0, v)));
    for (let i = 0; i < x.length; i++) {
      const [xi, o] = [x[i], output[i]];
      let x0 = prediction === "epsilon" ? (xi - s * o) / a : prediction === "sample" ? o : a * xi - s * o;
      if (clip !== null) x0 = Math.min(clip, Math.max(-clip, x0));
      x[i] = ap * x0 + sp * ((xi - a * x0) / s);
    }
  }
  return x;
}

const work = () => (job?.kind === "sampler" ? sample() : evaluate());

/** @type {Record<string, (args: any) => Promise<object>>} */
const handlers = {
  hello: async () => ({ version, settings }),
  open: async (args) => {
    await handlers.close?.({});
    job = args.job;
    const start = performance.now();
    session = await ort.InferenceSession.create(job.onnx, options);
    const tensors = readTensors(job.inputs);
    feeds = Object.fromEntries(session.inputNames.map((name) => [name, /** @type {any} */ (tensors[name])]));
    noise = tensors.sample;
    return { modes: ["host"], ms: performance.now() - start };
  },
  run: async ({ times }) => {
    const start = performance.now();
    for (let i = 0; i < times; i++) await work();
    return { ms: (performance.now() - start) / times };
  },
  output: async ({ path }) => {
    const data = await work();
    writeFileSync(path, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    return {};
  },
  close: async () => {
    await session?.release();
    session = undefined;
    return {};
  },
  stats: async () => ({ peakHostBytes: process.resourceUsage().maxRSS * 1024 }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, command, ...args } = JSON.parse(line);
  let answer;
  try {
    const handler = handlers[command];
    if (!handler) throw new Error(`knows no command ${command}`);
    answer = { result: await handler(args) };
  } catch (error) {
    answer = { error: error instanceof Error ? error.message.split("\n")[0] : String(error) };
  }
  process.stdout.write(`${JSON.stringify({ id, ...answer })}\n`);
}
process.exit(0);
