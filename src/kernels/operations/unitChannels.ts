/**
 * Queries and keys of length 1 per channel, over all pixels, as 0.27 of denoising-diffusion-pytorch has them: of the first two
 * thirds of the channels y = x/max(‖x‖, 1e-12)·scale, of the last third, the values, y = x.
 */
import { defineKernel } from "../../runtime/kernel.ts";
import { ceilDiv, type Value } from "../../runtime/values.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { defineOp } from "./operation.ts";

export const unitChannelsKernel = defineKernel({
  name: "unitChannels",
  tensors: { x: "in N H W C", y: "out N H W C" },
  floats: ["Q", "K"],
  variants: [
    {
      name: "direct",
      workgroup: (target) => (target.software ? 32 : 64),
      grid: (d, batch, wg) => [ceilDiv(d.C4 as number, wg), batch, 1],
      wgsl: (k) => wgsl`
${k.header}
@compute @workgroup_size(${k.workgroup})
fn main(@builtin(global_invocation_id) id: vec3u) {
  ${k.prelude}
  if (id.x >= C4) { return; }
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
  }
}`,
    },
  ],
  cost(d, batch) {
    const elements = batch * (d.H as number) * (d.W as number) * (d.C4 as number) * 4;
    return { flops: 3 * elements, bytes: 12 * elements };
  },
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
