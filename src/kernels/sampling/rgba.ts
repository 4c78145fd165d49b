/** The state as bytes. */
import { defineKernel } from "../../runtime/kernel.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { costOf, inGrid } from "../parts/threads.ts";

/**
 * RGBA bytes of x in −1..1: clamp(x/2 + 0.5, 0, 1)·255, rounded half to even as numpy does (diffusers,
 * VaeImageProcessor.postprocess). One channel is grey, missing channels are 0, alpha is 255. `status[n]`, 0 before, becomes 1
 * where image n is not finite.
 */
export const toRgba = defineKernel({
  name: "toRgba",
  tensors: { x: "in N H W C", rgba: "out N H W", status: "atomic? *" },
  variants: inGrid(["W", "H", "N"], {
    body: (k) => wgsl`
  let pixel = (id.z * H + id.y) * W + id.x;
  var v = ${k.load("x", "pixel * C4")};
  if (C == 1u) { v = v.xxxx; }
  #if ${k.has("status")}
  let exponent = bitcast<vec4u>(v) & vec4u(0x7f800000u);
  if (any(exponent == vec4u(0x7f800000u))) { atomicStore(&status[id.z], 1u); }
  #endif
  let byte = vec4u(round(clamp(v * 0.5 + 0.5, vec4f(), vec4f(1.0)) * 255.0));
  let blue = select(byte.z, 0u, C == 2u);
  rgba[pixel] = byte.x | (byte.y << 8u) | (blue << 16u) | 0xff000000u;`,
  }),
  cost: costOf("N H W", { flops: 0, bytes: 20 }),
});
