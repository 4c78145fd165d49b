/**
 * Packs a checkpoint's weight tensor (OIHW or [O, I], raw f32, f16 or bf16 words) into the layout that convolutions
 * read (see conv2d/contract.ts), once, at load. `inputs` maps each stored input position to a channel of the tensor and
 * `outputs` each stored output position to an output channel, 0xffffffff for padding; several tensors can share one packed
 * weight by disjoint ranges of output groups (q, k and v; all time-embedding projections). From weights that are packed
 * already (`source` "packed") `inputs` maps to their positions, and outputs stay as they are.
 */
import { type Codegen, defineKernel, type Flags } from "../runtime/kernel.ts";
import { channelGroups } from "../runtime/values.ts";
import { wgsl } from "../runtime/wgsl.ts";
import { costOf, inLine } from "./parts/threads.ts";
import type { PackedForm, PackedPlace } from "./weights.ts";

export interface PackFlags extends Flags {
  source: "f32" | "f16" | "bf16" | "packed";
}

const WORD: Record<Exclude<PackFlags["source"], "packed">, string> = {
  f32: "return bitcast<f32>(raw[i]);",
  f16: "return unpack2x16float(raw[i / 2u])[i % 2u];",
  bf16: "return bitcast<f32>(select(raw[i / 2u] << 16u, raw[i / 2u] & 0xffff0000u, i % 2u == 1u));",
};

/** Module-scope function `weight(i)`: value i of the raw tensor. */
const rawWeight = (source: PackFlags["source"]): string =>
  source === "packed" ? "" : `fn weight(i: u32) -> f32 { ${WORD[source]} }`;

/** A thread for each of them packs; in `body`, `position`, `group`, `channel` and `o4` say what. */
export const packing = (names: string, body: (k: Codegen<PackFlags>) => string) =>
  inLine<PackFlags>(names, {
    functions: (k) => rawWeight(k.flags.source),
    body: (k) => wgsl`
  let group = i % OC;
  let position = (i / OC) % CP;
  let channel = inputs[position];
  let o4 = O0 + group;
  ${body(k)}`,
  });

/**
 * Statements that set variables to filter values of four outputs, where there are any.
 * @param count of values of a filter in the tensor
 * @param taps which of them each variable is
 */
export function readTaps(
  k: Codegen<PackFlags>,
  count: string,
  taps: readonly (readonly [name: string, tap: string])[],
): string {
  if (k.flags.source === "packed") {
    const from = "FROM_O0 + group";
    const at = (tap: string) =>
      `((${from}) / L * FROM_SPAN + FROM_AT + (${tap}) * FROM_CP + channel) * L + (${from}) % L`;
    return `if (channel != 0xffffffffu) { ${taps.map(([name, tap]) => `${name} = ${k.load("raw", at(tap))};`).join(" ")} }`;
  }
  return `for (var j = 0u; j < 4u; j++) {
    let output = outputs[group * 4u + j];
    if (output != 0xffffffffu && channel != 0xffffffffu) {
      let base = (output * CI + channel) * ${count};
      ${taps.map(([name, tap]) => `${name}[j] = weight(base + ${tap});`).join(" ")}
    }
  }`;
}

/** What is known of number `i` of a weight's parameters. */
export function packScalars({ block, span, places }: PackedForm, i: number) {
  const { taps, inputs, outputs, group, at } = places[i] as PackedPlace;
  const [CP, OC] = [channelGroups(inputs) * 4, channelGroups(outputs)];
  return { TAPS: taps, CP, L: block, OC, O0: group, SPAN: span, AT: at };
}

/**
 * Extra scalars: TAPS, CI = channels of the tensor, CP = stored positions, L = lanes of a block, OC = output groups of
 * this tensor, O0 = its first group, SPAN = positions of a block over all its taps and sections, AT = this section's first;
 * FROM_… = those of where it is packed already, in place of CI.
 */
export const packWeights = defineKernel<PackFlags>({
  name: "packWeights",
  tensors: { raw: "in *", inputs: "in *", outputs: "in? *", w: "out *" },
  variants: packing(
    "TAPS CP OC",
    (k) => wgsl`
  let tap = i / (OC * CP);
  var v = vec4f();
  ${readTaps(k, "TAPS", [["v", "tap"]])}
  ${k.store("w", "(o4 / L * SPAN + AT + tap * CP + position) * L + o4 % L", "v")}`,
  ),
  cost: costOf("TAPS CP OC", { flops: 0, bytes: 32 }),
});
