/** A constant affine map for a load map: affine[n, 0] = SCALE, affine[n, 1] = SHIFT (center_input_sample is 2x − 1). */
import { defineKernel } from "../runtime/kernel.ts";
import { ceilDiv } from "../runtime/values.ts";
import { wgsl } from "../runtime/wgsl.ts";

export const fillAffine = defineKernel({
  name: "fillAffine",
  tensors: { affine: "out N 2 C" },
  floats: ["SCALE", "SHIFT"],
  variants: [
    {
      name: "direct",
      workgroup: () => 32,
      grid: (d, batch, wg) => [ceilDiv(d.C4 as number, wg), batch, 1],
      wgsl: (k) => wgsl`
${k.header}
@compute @workgroup_size(${k.workgroup})
fn main(@builtin(global_invocation_id) id: vec3u) {
  ${k.prelude}
  if (id.x >= C4) { return; }
  ${k.store("affine", "id.y * 2u * C4 + id.x", "vec4f(SCALE)")}
  ${k.store("affine", "(id.y * 2u + 1u) * C4 + id.x", "vec4f(SHIFT)")}
}`,
    },
  ],
  cost: (d, batch) => ({ flops: 0, bytes: 32 * batch * (d.C4 as number) }),
});
