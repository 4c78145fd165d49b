/**
 * LayerNorm over the channels of every pixel, in two passes over them: the mean, then the squares about it, because the
 * difference of E[x²] and E[x]² loses what the variance needs. Channels must be one segment; those that pad its last vec4
 * count for nothing and stay zero, since the packed weights are zero there.
 *
 * `direct`: a thread per pixel, whose channels are next to each other in memory. `shared`, for GPUs: a workgroup per
 * pixel, so that neighbouring threads read neighbouring channels.
 */
import { type Codegen, defineKernel, type Flags, linearGrid } from "../../runtime/kernel.ts";
import type { Value } from "../../runtime/values.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { costOf, inLine } from "../parts/threads.ts";
import { type ParamRef, vector } from "../weights.ts";
import { defineOp } from "./operation.ts";

/**
 * Channel group `c` of the pixel at `base`, relative to `origin + offset`. The origin, one of the pixel's own channels,
 * keeps a mean far from zero from costing precision.
 */
const relative = (k: Codegen<Flags>): string => `(${k.load("x", "base + c")} - origin - offset)`;
const masked = (k: Codegen<Flags>): string =>
  `select(vec4f(), ${relative(k)}, vec4u(0u, 1u, 2u, 3u) + c * 4u < vec4u(C))`;
const normalised = (k: Codegen<Flags>): string =>
  k.store(
    "y",
    "base + c",
    `${relative(k)} * inverse * ${k.load("gamma", "c")}${k.has("beta") ? ` + ${k.load("beta", "c")}` : ""}`,
  );

const direct = inLine<Flags>("N H W", {
  workgroup: (target) => target.lanes || 32,
  body: (k) => wgsl`
  let base = i * C4;
  let origin = ${k.load("x", "base")}.x;
  var offset = 0.0;
  var sum = vec4f();
  for (var c = 0u; c < C4; c++) { sum += ${masked(k)}; }
  offset = dot(sum, vec4f(1.0)) / f32(C);
  var squares = vec4f();
  for (var c = 0u; c < C4; c++) {
    let d = ${masked(k)};
    squares += d * d;
  }
  let inverse = 1.0 / sqrt(dot(squares, vec4f(1.0)) / f32(C) + EPS);
  for (var c = 0u; c < C4; c++) { ${normalised(k)} }`,
});

/** Threads of a workgroup of `shared`. */
const THREADS = 64;

function shared(k: Codegen<Flags>): string {
  // Every thread adds up all partial sums: 64 broadcast reads cost less than the barriers of a tree.
  const total = (name: string) => wgsl`
  workgroupBarrier();
  partial[thread] = dot(${name}, vec4f(1.0));
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < ${THREADS}u; i++) { total += partial[i]; }`;
  return wgsl`
${k.header}
var<workgroup> partial: array<f32, ${THREADS}>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
  ${k.prelude}
  let pixel = wg.y * groups.x + wg.x;
  if (pixel >= N * H * W) { return; }
  let base = pixel * C4;
  let origin = ${k.load("x", "base")}.x;
  var offset = 0.0;
  var sum = vec4f();
  for (var c = thread; c < C4; c += ${THREADS}u) { sum += ${masked(k)}; }
  {
    ${total("sum")}
    offset = total / f32(C);
  }
  var squares = vec4f();
  for (var c = thread; c < C4; c += ${THREADS}u) {
    let d = ${masked(k)};
    squares += d * d;
  }
  ${total("squares")}
  let inverse = 1.0 / sqrt(total / f32(C) + EPS);
  for (var c = thread; c < C4; c += ${THREADS}u) { ${normalised(k)} }
}`;
}

export const layerNormKernel = defineKernel<Flags>({
  name: "layerNorm",
  tensors: { x: "in N H W C", gamma: "in C", beta: "in? C", y: "out N H W C" },
  floats: ["EPS"],
  variants: [
    {
      name: "shared",
      when: (target) => !target.software,
      workgroup: () => THREADS,
      grid: (d, batch) => linearGrid(batch * (d.H as number) * (d.W as number), 1),
      wgsl: shared,
    },
    ...direct,
  ],
  cost: costOf("N H W C", { flops: 8, bytes: 8 }),
});

export interface LayerNormInit {
  readonly gamma: ParamRef;
  /** Absent: zero. */
  readonly beta?: ParamRef;
  readonly eps: number;
}
/** y = (x − mean)/√(variance + eps)·gamma + beta for every pixel by itself. */
export const layerNorm = defineOp({
  name: "layerNorm",
  build(graph, label, x: Value, init: LayerNormInit) {
    return { x, ...init, y: graph.value(label, x.shape, x.segments) };
  },
  reads: ({ x }) => [x],
  params: ({ gamma, beta }) => [gamma, beta],
  lower(lowering, { label, x, gamma, beta, eps, y }) {
    const tensors = { x, gamma: lowering.weight(vector(gamma)), beta: beta && lowering.weight(vector(beta)), y };
    lowering.calls.push(layerNormKernel.lower(lowering.target, label, tensors, {}, { EPS: eps }));
  },
});
