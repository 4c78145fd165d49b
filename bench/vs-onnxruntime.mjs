// One network evaluation, ours against onnxruntime-node, on the same weights, inputs and adapter: processes alternated,
// outputs of both checked first, ratio of medians printed. A first instrument; a network's ONNX file comes from outside.
//
//   node bench/vs-onnxruntime.mjs MODEL_DIR ONNX_DIR [webgpu|cpu]
//
// ONNX_DIR holds model.onnx and io.safetensors (its inputs, and the network's own `output`). The peer is installed by
// `node scripts/install-peers.mjs`.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { findAdapter } from "../scripts/adapter.mjs";

const ROUNDS = 3;
const SECONDS = "4";
const [model, onnx, provider = "webgpu"] = process.argv.slice(2);
const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));

/**
 * @param {string} problem
 * @returns {never}
 */
function fail(problem) {
  console.error(problem);
  process.exit(2);
}

if (!model || !onnx || !["webgpu", "cpu"].includes(provider))
  fail("usage: node bench/vs-onnxruntime.mjs MODEL_DIR ONNX_DIR [webgpu|cpu]");
for (const file of ["model.onnx", "io.safetensors"])
  if (!existsSync(`${onnx}/${file}`)) fail(`${onnx}/${file}: no such file`);
if (!existsSync(here("peers/node_modules/onnxruntime-node")))
  fail("onnxruntime is not installed: node scripts/install-peers.mjs");
const adapter = findAdapter() ?? fail("no WebGPU adapter: npm run setup");

/** @param {string[]} args */
function run(args) {
  const child = spawnSync(process.execPath, args, { encoding: "utf8", env: { ...process.env, ...adapter.env } });
  if (child.status !== 0) fail(child.stderr.trim() || `${args[0]} ended with ${child.status}`);
  return JSON.parse(child.stdout.trim().split("\n").at(-1) ?? "");
}
/** @param {number[]} values */
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

const io = `${onnx}/io.safetensors`;
const pairs = [];
for (let i = 0; i < ROUNDS; i++) {
  const ours = run([
    here("../bin/ddim.js"),
    "bench",
    "forward",
    "-m",
    model,
    "--input",
    io,
    "--seconds",
    SECONDS,
    "--json",
    "-q",
  ]);
  const theirs = run([here("peers/time.mjs"), onnx, provider, SECONDS]);
  if (!(theirs.nmse < 1e-8)) fail(`onnxruntime's output is wrong: NMSE ${theirs.nmse}`);
  pairs.push({ ours: ours.ms, theirs: theirs.ms, adapter: ours.adapter });
  console.error(`round ${i + 1}: ours ${ours.ms.toFixed(2)} ms, onnxruntime ${provider} ${theirs.ms.toFixed(2)} ms`);
}
const ratio = median(pairs.map((p) => p.theirs / p.ours));
console.log(
  `${model} on ${pairs[0]?.adapter}: ours ${median(pairs.map((p) => p.ours)).toFixed(2)} ms, onnxruntime ${provider} ` +
    `${median(pairs.map((p) => p.theirs)).toFixed(2)} ms, ratio ${ratio.toFixed(2)} (median of ${ROUNDS} pairs)`,
);
