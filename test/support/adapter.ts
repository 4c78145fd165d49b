/**
 * Global set-up of every test run: goldens get the weights that are kept as a recipe, and there must be an adapter. Where only
 * the software driver has one, the variables that lead to it are set here, before the worker processes start and import `webgpu`.
 */
import { findAdapter } from "../../scripts/adapter.mjs";
import { writeGoldenWeights } from "../../scripts/goldens.mjs";

export default function setup(): void {
  writeGoldenWeights();
  const adapter = findAdapter();
  if (!adapter) throw new Error("no WebGPU adapter on this machine: run `npm run setup`, which says what to install");
  Object.assign(process.env, adapter.env);
}
