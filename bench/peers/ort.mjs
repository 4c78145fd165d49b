// onnxruntime-node as a peer of the benchmarks: node ort.mjs cpu|webgpu. Commands as JSON lines on stdin, see
// bench/harness/protocol.ts.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { cpus } from "node:os";
import process from "node:process";
import ort from "onnxruntime-node";
import { peakHostBytes, serve } from "./serve.mjs";
import { openSession } from "./session.mjs";

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

/** @type {Awaited<ReturnType<typeof openSession>> | undefined} */
let session;

function current() {
  if (!session) throw new Error("nothing is open");
  return session;
}

async function close() {
  await session?.close();
  session = undefined;
  return {};
}

await serve({
  hello: async () => ({ version, settings }),
  async open({ job }) {
    await close();
    const start = performance.now();
    session = await openSession(ort, options, job.onnx, readFileSync(job.inputs), job);
    return { modes: ["host"], ms: performance.now() - start };
  },
  run: async ({ times }) => ({ ms: await current().run(times) }),
  async output({ path }) {
    const { buffer, byteOffset, byteLength } = await current().output();
    writeFileSync(path, new Uint8Array(buffer, byteOffset, byteLength));
    return {};
  },
  close,
  stats: async () => ({ peakHostBytes: peakHostBytes() }),
});
process.exit(0);
