/**
 * Global set-up of every test run: there must be an adapter. Where only the software driver has one, the variables that
 * lead to it are set here, before the worker processes start and import `webgpu`.
 */
import { findAdapter } from "../../scripts/adapter.mjs";

export default function setup(): void {
  const adapter = findAdapter();
  if (!adapter) throw new Error("no WebGPU adapter on this machine: run `npm run setup`, which says what to install");
  Object.assign(process.env, adapter.env);
}
