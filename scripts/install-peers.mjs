// Installs what the benchmarks compare against (bench/peers): some 290 MB, so never part of the quick start.
import process from "node:process";
import { fileURLToPath } from "node:url";
import { npm } from "./packages.mjs";

// onnxruntime-node otherwise downloads CUDA libraries: the WebGPU and CPU providers are in the package already.
process.env.ONNXRUNTIME_NODE_INSTALL = "skip";
const status = npm(["ci", "--no-fund", "--no-audit"], fileURLToPath(new URL("../bench/peers", import.meta.url)));
process.exit(status ?? 1);
