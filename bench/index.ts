/** What `ddim bench` loads in a checkout (src/cli/benchParts.ts): one function per command. */
export { benchKernels } from "./kernels/command.ts";
export { exportOnnx } from "./onnx/command.ts";
export { readResults } from "./results.ts";
