/**
 * Packs a checkpoint's weight tensor (OIHW or [O, I], raw f32, f16 or bf16 words) into the layout that convolutions
 * read (see conv2d/contract.ts), once, at load. `inputs` maps each stored input position to a channel of the tensor and
 * `outputs` each stored output position to a row, 0xffffffff for padding; several tensors can share one packed weight by
 * disjoint ranges of output groups (q, k and v; all time-embedding projections).
 */
import { defineKernel, type Flags, LINEAR_INDEX, linearGrid, mainLinear } from "../runtime/kernel.ts";
import { wgsl } from "../runtime/wgsl.ts";

export interface PackFlags extends Flags {
  source: "f32" | "f16" | "bf16";
}

const WORD: Record<PackFlags["source"], string> = {
  f32: "return bitcast<f32>(raw[i]);",
  f16: "return unpack2x16float(raw[i / 2u])[i % 2u];",
  bf16: "return bitcast<f32>(select(raw[i / 2u] << 16u, raw[i / 2u] & 0xffff0000u, i % 2u == 1u));",
};

/** Module-scope function `weight(i)`: value i of the raw tensor. */
export const rawWeight = (source: PackFlags["source"]): string => `fn weight(i: u32) -> f32 { ${WORD[source]} }`;

/**
 * Extra scalars: TAPS, CI = channels of the tensor, CP = stored positions, L = lanes of a block, OC = output groups of
 * this tensor, O0 = its first group, SPAN = positions of a block over all its taps and sections, AT = this section's first.
 */
export const packWeights = defineKernel<PackFlags>({
  name: "packWeights",
  tensors: { raw: "in *", inputs: "in *", outputs: "in *", w: "out *" },
  variants: [
    {
      name: "direct",
      workgroup: (target) => (target.software ? 32 : 64),
      grid: (d, _batch, wg) => linearGrid((d.TAPS as number) * (d.CP as number) * (d.OC as number), wg),
      wgsl: (k) => wgsl`
${k.header}
${rawWeight(k.flags.source)}
${mainLinear(k.workgroup)} {
  ${k.prelude}
  let i = ${LINEAR_INDEX};
  if (i >= TAPS * CP * OC) { return; }
  let group = i % OC;
  let position = (i / OC) % CP;
  let tap = i / (OC * CP);
  let channel = inputs[position];
  var v = vec4f();
  for (var j = 0u; j < 4u; j++) {
    let row = outputs[group * 4u + j];
    if (row != 0xffffffffu && channel != 0xffffffffu) { v[j] = weight((row * CI + channel) * TAPS + tap); }
  }
  let o4 = O0 + group;
  ${k.store("w", "(o4 / L * SPAN + AT + tap * CP + position) * L + o4 % L", "v")}
}`,
    },
  ],
  cost: (d) => ({ flops: 0, bytes: 32 * (d.TAPS as number) * (d.CP as number) * (d.OC as number) }),
});
