/** Convolutions for GPUs: read through the load map, in tiles or by subgroup matrices, in parts where tiles are few. */
import type { Kernel } from "../../runtime/kernel.ts";
import { channelGroups, type Value } from "../../runtime/values.ts";
import type { ConvNode } from "../conv2d/node.ts";
import { convScalars, type Lowering, segmentsOf } from "../lowering/lowering.ts";
import { bias as biasOf, packed } from "../weights.ts";
import { gpuConv } from "./choice.ts";
import { convMatrix, convMatrixPartial, type MatrixFlags } from "./convMatrix.ts";
import { convSum } from "./convSum.ts";
import { convFused, convPartial } from "./convTiled.ts";
import type { GemmFlags } from "./implicitGemm.ts";

export function lowerGpuConv(lowering: Lowering, op: ConvNode): void {
  const { label, view, weights, kernel, pad, emb, residual, y } = op;
  const sections = [{ weights, kernel, segments: segmentsOf(view.sources) }];
  const w = lowering.weight(packed(label, sections, channelGroups(y.segments), lowering));
  const [a, b] = view.sources;
  const bias = lowering.weight(biasOf(label, weights));
  const inputs = { a, b, affine: view.affine, w };
  const finishing = { bias, emb: emb?.table ?? bias, residual: residual ?? a, y };
  const scalars = { ...convScalars(op), PT: pad[0], PL: pad[1] };
  const { tile, splits } = gpuConv(op, lowering.target, lowering.dtype);
  const flags = { act: view.act, upsample: view.upsample, split: splits > 1 };
  const product = (tensors: Record<string, Value | undefined>, whole: Kernel<GemmFlags>, units: Kernel<MatrixFlags>) =>
    tile
      ? units.lower(lowering.target, label, tensors, { ...flags, tile }, scalars)
      : whole.lower(lowering.target, label, tensors, flags, scalars);
  if (splits === 1) {
    lowering.calls.push(product({ ...inputs, ...finishing }, convFused, convMatrix));
    return;
  }
  const partial = lowering.intermediate(`${label}.partial`, [splits, ...y.shape], y.segments, "f32");
  lowering.calls.push(
    product({ ...inputs, y: partial }, convPartial, convMatrixPartial),
    convSum.lower(lowering.target, label, { partial, ...finishing }, {}, scalars),
  );
}
