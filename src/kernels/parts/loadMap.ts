/**
 * The load map: how a kernel reads its input. One or two sources (channels concatenated), GroupNorm's affine, the
 * activation, nearest ×2, and zero outside the image: the padding is zero *after* the activation, as PyTorch pads.
 * `apply` materialises a load map; `direct` and `tiled` convolutions fuse it.
 */
import type { Codegen, Dims, Flags } from "../../runtime/kernel.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { type Activation, activationFunction } from "./activations.ts";

export interface LoadFlags extends Flags {
  act: Activation;
  upsample: boolean;
}

/** Contract of the tensors that a load map reads; spread first into a kernel's tensors. */
export const LOAD_TENSORS = { a: "in N HA WA CA", b: "in? N HA WA CB", affine: "in? N 2 CX" } as const;

/** Sizes of the mapped input: HIN × WIN pixels of C4 channel groups. */
export function loadScalars(dims: Dims, flags: LoadFlags): Dims & { HIN: number; WIN: number; C4: number } {
  const k = flags.upsample ? 2 : 1;
  const groups = (dims.CA4 as number) + (dims.CB4 ?? 0);
  return { HIN: (dims.HA as number) * k, WIN: (dims.WA as number) * k, C4: groups };
}

/** Module-scope helpers of {@link readInput}. */
export const loadHelpers = (k: Codegen<LoadFlags>): string => activationFunction(k.flags.act);

/**
 * Statements that define `var name: vec4f`, the mapped input at image n, line y, column x (i32 expressions, may lie
 * outside) and channel group c4.
 */
export function readInput(k: Codegen<LoadFlags>, name: string, n: string, y: string, x: string, c4: string): string {
  const shift = k.flags.upsample ? " >> 1u" : "";
  return wgsl`
  var ${name} = vec4f();
  if (${y} >= 0 && ${x} >= 0 && ${y} < i32(HIN) && ${x} < i32(WIN) && ${c4} < C4) {
    let pixel = (${n} * HA + (u32(${y})${shift})) * WA + (u32(${x})${shift});
    #if ${k.has("b")}
    if (${c4} < CA4) { ${name} = ${k.load("a", `pixel * CA4 + ${c4}`)}; }
    else { ${name} = ${k.has("b") ? k.load("b", `pixel * CB4 + ${c4} - CA4`) : ""}; }
    #else
    ${name} = ${k.load("a", `pixel * CA4 + ${c4}`)};
    #endif
    #if ${k.has("affine")}
    let at = ${n} * 2u * C4 + ${c4};
    ${name} = ${name} * ${k.has("affine") ? k.load("affine", "at") : ""} + ${k.has("affine") ? k.load("affine", "at + C4") : ""};
    #endif
    ${name} = activate(${name});
  }`;
}
