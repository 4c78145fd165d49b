/** What `ddim bench` loads in a checkout (src/cli/benchParts.ts): one function per command. */
export { benchAll } from "./harness/command.ts";
export { benchKernels } from "./kernels/command.ts";
export { exportOnnx } from "./onnx/command.ts";
export { benchCompare, benchReport } from "./report/command.ts";
