/** Whether this platform can run the engine, with the reason and a remedy when it cannot. */

import { adapterName } from "../runtime/device.ts";
import { checkKind } from "../runtime/options.ts";

export type Support = { ok: true; adapter: string; features: string[] } | { ok: false; reason: string; hint: string };

/** @param gpu default: `navigator.gpu` */
export async function checkSupport(gpu?: GPU): Promise<Support> {
  const found = gpu ?? (typeof navigator === "undefined" ? undefined : navigator.gpu);
  if (found === undefined || found === null)
    return {
      ok: false,
      reason: "this platform has no WebGPU",
      hint: "use a current Chrome, Edge, Safari or Firefox over https or localhost; in Node import from ddim-webgpu/node",
    };
  checkKind("checkSupport", "gpu", "a GPU", found);
  const adapter = await found.requestAdapter();
  if (!adapter)
    return {
      ok: false,
      reason: "WebGPU offers no adapter",
      hint: "update the graphics driver, or enable hardware acceleration in the browser",
    };
  return { ok: true, adapter: adapterName(adapter.info), features: [...adapter.features].sort() };
}
