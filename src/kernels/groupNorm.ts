/**
 * GroupNorm in two small kernels; the normalisation itself is an affine map per image and channel that the consumer
 * applies while it loads (software/groupNorm.ts is another way, for groups that it fits). `groupNormStats` gives mean and
 * sum of squared deviations per channel and chunk of pixels; sums are taken relative to the chunk's first pixel, so a
 * large mean costs no precision. `groupNormAffine` merges chunks and the channels of a group (Chan et al., "Updating
 * formulae", 1979) and writes scale and shift. Chunks depend on the image's size only and never cross images: batches
 * are bit-identical.
 */
import { ShapeError } from "../runtime/errors.ts";
import { type Codegen, defineKernel, type Flags } from "../runtime/kernel.ts";
import { ceilDiv } from "../runtime/values.ts";
import { wgsl } from "../runtime/wgsl.ts";
import { costOf, inGrid } from "./parts/threads.ts";

/** Pixels per chunk: enough chunks to fill a device, few enough to merge quickly. */
export const chunkPixels = (pixels: number): number => Math.max(64, ceilDiv(pixels, 64));
export const chunkCount = (pixels: number): number => ceilDiv(pixels, chunkPixels(pixels));

/** stats[n, k, 0, c] = mean of chunk k, stats[n, k, 1, c] = sum of squared deviations from it. */
export const groupNormStats = defineKernel<Flags>({
  name: "groupNormStats",
  tensors: { x: "in N H W C", stats: "out N K 2 C" },
  scalars: (d) => ({ CHUNK: chunkPixels((d.H as number) * (d.W as number)) }),
  variants: inGrid(["C4", "K", "N"], {
    workgroup: (target) => target.lanes || 32,
    body: (k) => wgsl`
  let first = id.y * CHUNK;
  let count = min(CHUNK, H * W - first);
  let base = (id.z * H * W + first) * C4 + id.x;
  let origin = ${k.load("x", "base")};
  var sum = vec4f();
  var squares = vec4f();
  for (var i = 1u; i < count; i++) {
    let d = ${k.load("x", "base + i * C4")} - origin;
    sum += d;
    squares += d * d;
  }
  let mean = sum / f32(count);
  let at = (id.z * K + id.y) * 2u * C4 + id.x;
  ${k.store("stats", "at", "origin + mean")}
  ${k.store("stats", "at + C4", "max(squares - sum * mean, vec4f())")}`,
  }),
  cost: costOf("N H W C4", { flops: 16, bytes: 16 }),
});

function affineBody(k: Codegen<Flags>): string {
  const source = (offset: string) => wgsl`
    if (p / 4u < CA4) { value = ${k.load("sa", `((n * K + chunk) * 2u + ${offset}) * CA4 + p / 4u`)}[p % 4u]; }
    #if ${k.has("sb")}
    else { value = ${k.has("sb") ? k.load("sb", `((n * K + chunk) * 2u + ${offset}) * CB4 + p / 4u - CA4`) : ""}[p % 4u]; }
    #endif`;
  return wgsl`
  let n = id.y;
  var group = 0xffffffffu;
  var mean = 0.0;
  var inverse = 0.0;
  var scale = vec4f();
  var shift = vec4f();
  for (var component = 0u; component < 4u; component++) {
    let channel = positions[id.x * 4u + component];
    if (channel == 0xffffffffu) { continue; }
    let size = CX / GROUPS;
    if (channel / size != group) {
      group = channel / size;
      var total = 0.0;
      for (var c = group * size; c < (group + 1u) * size; c++) {
        let p = positions[CX4 * 4u + c];
        for (var chunk = 0u; chunk < K; chunk++) {
          var value = 0.0;
          ${source("0u")}
          total += value * f32(min(CHUNK, PIXELS - chunk * CHUNK));
        }
      }
      mean = total / f32(size * PIXELS);
      var squares = 0.0;
      for (var c = group * size; c < (group + 1u) * size; c++) {
        let p = positions[CX4 * 4u + c];
        for (var chunk = 0u; chunk < K; chunk++) {
          var value = 0.0;
          ${source("0u")}
          let d = value - mean;
          squares += d * d * f32(min(CHUNK, PIXELS - chunk * CHUNK));
          ${source("1u")}
          squares += value;
        }
      }
      inverse = 1.0 / sqrt(squares / f32(size * PIXELS) + EPS);
    }
    scale[component] = ${k.load("gamma", "channel / 4u")}[channel % 4u] * inverse;
    shift[component] = ${k.load("beta", "channel / 4u")}[channel % 4u] - mean * scale[component];
  }
  #if ${k.has("emb")}
  let e = n * E4 + EO + id.x;
  let factor = 1.0 + ${k.has("emb") ? k.load("emb", "e") : ""};
  scale = scale * factor;
  shift = shift * factor + ${k.has("emb") ? k.load("emb", "e + CX4") : ""};
  #endif
  ${k.store("affine", "n * 2u * CX4 + id.x", "scale")}
  ${k.store("affine", "n * 2u * CX4 + CX4 + id.x", "shift")}`;
}

/**
 * affine[n, 0] = scale, affine[n, 1] = shift with y = x·scale + shift. `positions` holds the channel of every stored
 * position (0xffffffff for padding), then the position of every channel. `emb` (scale-shift norms): its entry per image holds
 * [scale | shift] at EO, y = norm(x)·(1 + scale) + shift. Extra scalars: GROUPS, EPS, PIXELS, E4, EO.
 */
export const groupNormAffine = defineKernel<Flags>({
  name: "groupNormAffine",
  tensors: {
    sa: "in N K 2 CA",
    sb: "in? N K 2 CB",
    gamma: "in CX",
    beta: "in CX",
    positions: "in *",
    emb: "in? *",
    affine: "out N 2 CY",
  },
  floats: ["EPS"],
  scalars(d) {
    const channels = (d.CA as number) + (d.CB ?? 0);
    if (channels !== d.CX) throw new ShapeError("groupNorm", "gamma", `[${channels}]`, [d.CX ?? 0]);
    if (channels % (d.GROUPS as number) !== 0)
      throw new ShapeError("groupNorm", "x", `channels divisible by ${d.GROUPS} groups`, [channels]);
    return { CX4: d.CY4 as number, CHUNK: chunkPixels(d.PIXELS as number) };
  },
  variants: inGrid(["CX4", "N"], { workgroup: (target) => target.lanes || 32, body: affineBody }),
  cost: costOf("N K CX", { flops: 8, bytes: 8 }),
});
