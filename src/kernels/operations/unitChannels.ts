/**
 * Queries and keys of length 1 per channel, over all pixels, as 0.27 of denoising-diffusion-pytorch has them: of the first two
 * thirds of the channels y = x/max(‖x‖, 1e-12)·scale, of the last third, the values, y = x.
 */
import { defineKernel } from "../../runtime/kernel.ts";
import type { Value } from "../../runtime/values.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { costOf, inGrid } from "../parts/threads.ts";
import { defineOp } from "./operation.ts";

export const unitChannelsKernel = defineKernel({
  name: "unitChannels",
  tensors: { x: "in N H W C", y: "out N H W C" },
  floats: ["Q", "K"],
  variants: inGrid(["C4", "N"], {
    body: (k) => wgsl`
  let base = id.y * H * W * C4 + id.x;
  var squares = vec4f();
  for (var pixel = 0u; pixel < H * W; pixel++) {
    let v = ${k.load("x", "base + pixel * C4")};
    squares += v * v;
  }
  let inverse = select(vec4f(1.0), select(K, Q, id.x < C4 / 3u) / max(sqrt(squares), vec4f(1e-12)), id.x < C4 / 3u * 2u);
  for (var pixel = 0u; pixel < H * W; pixel++) {
    let at = base + pixel * C4;
    ${k.store("y", "at", `${k.load("x", "at")} * inverse`)}
  }`,
  }),
  cost: costOf("N H W C4", { flops: 12, bytes: 48 }),
});

export const unitChannels = defineOp({
  name: "unitChannels",
  /** @param scales of queries and of keys */
  build(graph, label, x: Value, scales: readonly [number, number]) {
    return { x, scales, y: graph.value(`${label}.unit`, x.shape, x.segments) };
  },
  reads: ({ x }) => [x],
  lower({ target, calls }, { label, x, scales: [Q, K], y }) {
    calls.push(unitChannelsKernel.lower(target, label, { x, y }, {}, { Q, K }));
  },
});
