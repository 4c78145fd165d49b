/**
 * Linear attention (Shen et al., "Efficient attention: attention with linear complexities", 2018): y = softmax_d(q)·scale times
 * the context softmax_n(k)ᵀ·v of every head, d by d, so that no matrix of pixels by pixels is made. Keys are weighted over
 * tokens, queries over the channels of a head.
 *
 * `linearAttentionPartial` sums chunks of tokens, under each chunk's own largest key; `linearAttentionContext` adds the chunks
 * in order; `linearAttentionValues` reads the context for every pixel.
 */
import { type Codegen, defineKernel, type Flags } from "../../runtime/kernel.ts";
import { ceilDiv } from "../../runtime/values.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { type AttentionInit, pixels } from "../attention/contract.ts";
import { partialShared } from "../gpu/linearAttentionShared.ts";
import { costOf, inLine } from "../parts/threads.ts";
import { hwc } from "./node.ts";
import { defineOp } from "./operation.ts";

/** Tokens of a chunk. */
const CHUNK = 256;

/** `kv` has keys and values of as many tokens as there are, in the form of `q`. */
export interface LinearAttentionInit extends AttentionInit {
  /** Of the result. */
  readonly scale: number;
}

function partial(k: Codegen<Flags>): string {
  const key = k.load("kv", "(first + token) * CK4 + KO + head * D4 + d / 4u");
  return wgsl`
  let e4 = i % P4;
  let row = i / P4 % R;
  let chunk = i / (P4 * R) % CHUNKS;
  let n = i / (P4 * R * CHUNKS);
  let head = row / D;
  let d = row % D;
  let first = n * LK + chunk * ${CHUNK}u;
  let count = min(${CHUNK}u, LK - chunk * ${CHUNK}u);
  var largest = -3.0e38;
  for (var token = 0u; token < count; token++) { largest = max(largest, ${key}[d % 4u]); }
  var sum = 0.0;
  var acc = vec4f();
  for (var token = 0u; token < count; token++) {
    let p = exp(${key}[d % 4u] - largest);
    sum += p;
    acc += p * ${k.load("kv", "(first + token) * CK4 + VO + head * D4 + min(e4, D4 - 1u)")};
  }
  ${k.store("partial", "i", "select(acc, vec4f(largest, sum, 0.0, 0.0), e4 == D4)")}`;
}

/**
 * Of every chunk and key channel (a row): Σ exp(k − largest)·v, and behind it the largest k and Σ exp(k − largest).
 * Extra scalars: KO, VO, D = channels of a head, D4 = its vec4s, LK = tokens.
 */
export const linearAttentionPartial = defineKernel<Flags>({
  name: "linearAttentionPartial",
  tensors: { kv: "in N HK WK CK", partial: "out N CHUNKS R P" },
  variants: [partialShared(CHUNK), ...inLine("N CHUNKS R P4", { body: partial })],
  cost(d, batch) {
    const sums = batch * (d.LK as number) * (d.R as number);
    return { flops: 2 * sums * (d.D as number), bytes: 8 * sums };
  },
});

/** The chunks' sums added up and divided. */
export const linearAttentionContext = defineKernel<Flags>({
  name: "linearAttentionContext",
  tensors: { partial: "in N CHUNKS R P", context: "out N 1 R E" },
  variants: inLine("N R E4", {
    body: (k) => wgsl`
  let e4 = i % E4;
  let row = i / E4 % R;
  let n = i / (E4 * R);
  var largest = -3.0e38;
  for (var chunk = 0u; chunk < CHUNKS; chunk++) {
    largest = max(largest, ${k.load("partial", "((n * CHUNKS + chunk) * R + row) * P4 + E4")}.x);
  }
  var sum = 0.0;
  var acc = vec4f();
  for (var chunk = 0u; chunk < CHUNKS; chunk++) {
    let at = ((n * CHUNKS + chunk) * R + row) * P4;
    let own = ${k.load("partial", "at + E4")};
    let keep = exp(own.x - largest);
    sum += keep * own.y;
    acc += keep * ${k.load("partial", "at + e4")};
  }
  ${k.store("context", "i", "acc / sum")}`,
  }),
  cost: costOf("N CHUNKS R P4", { flops: 8, bytes: 16 }),
});

/** Extra scalars: HEADS, D, SCALE. */
export const linearAttentionValues = defineKernel<Flags>({
  name: "linearAttentionValues",
  tensors: { q: "in N H W CQ", context: "in N 1 R E", y: "out N H W C" },
  floats: ["SCALE"],
  variants: inLine("N H W HEADS", {
    // The channels' weights are made again for every vec4 of the result: those of wide heads would not fit registers.
    body: (k) => wgsl`
  let head = i % HEADS;
  let pixel = i / HEADS;
  let n = pixel / (H * W);
  let base = pixel * CQ4 + head * E4;
  let rows = (n * R + head * D) * E4;
  var largest = -3.0e38;
  for (var d = 0u; d < D; d++) { largest = max(largest, ${k.load("q", "base + d / 4u")}[d % 4u]); }
  var sum = 0.0;
  for (var d = 0u; d < D; d++) { sum += exp(${k.load("q", "base + d / 4u")}[d % 4u] - largest); }
  for (var e4 = 0u; e4 < E4; e4++) {
    var acc = vec4f();
    for (var d = 0u; d < D; d++) {
      acc += exp(${k.load("q", "base + d / 4u")}[d % 4u] - largest) * ${k.load("context", "rows + d * E4 + e4")};
    }
    ${k.store("y", "pixel * C4 + head * E4 + e4", "acc * (SCALE / sum)")}
  }`,
  }),
  cost(d, batch) {
    const outputs = batch * (d.H as number) * (d.W as number) * (d.C as number);
    return { flops: 2 * outputs * (d.D as number), bytes: 8 * outputs };
  },
});

export const linearAttention = defineOp({
  name: "linearAttention",
  build(graph, label, init: LinearAttentionInit) {
    const [h, w] = hwc(init.q);
    const segments = Array.from({ length: init.heads }, () => init.headDim);
    return { ...init, y: graph.value(`${label}.heads`, [h, w, init.heads * init.headDim], segments) };
  },
  reads: ({ q, kv }) => [q, kv],
  lower(ctx, { label, q, kv, heads, headDim, kGroup, vGroup, scale, y }) {
    const [LK, D4, rows] = [pixels(kv), ceilDiv(headDim, 4), heads * headDim];
    const chunks = ceilDiv(LK, CHUNK);
    const made = (name: string, count: number, widths: readonly number[]) =>
      ctx.intermediate(`${label}.${name}`, [count, rows, widths.reduce((a, b) => a + b, 0)], widths, "f32");
    const sums = made("sums", chunks, [headDim, 4]);
    const context = made("context", 1, [headDim]);
    const sizes = { KO: kGroup, VO: vGroup, D: headDim, D4, LK };
    ctx.calls.push(
      linearAttentionPartial.lower(ctx.target, label, { kv, partial: sums }, {}, sizes),
      linearAttentionContext.lower(ctx.target, label, { partial: sums, context }, {}),
      linearAttentionValues.lower(ctx.target, label, { q, context, y }, {}, { HEADS: heads, D: headDim, SCALE: scale }),
    );
  },
});
