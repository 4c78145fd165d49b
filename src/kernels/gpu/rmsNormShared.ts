/** RMSNorm for GPUs: 64 threads share a pixel, and each adds up all their partial sums, which costs less than a tree's barriers. */
import { type Codegen, type Flags, linearGrid, type Variant } from "../../runtime/kernel.ts";
import { wgsl } from "../../runtime/wgsl.ts";

const THREADS = 64;

/** @param store WGSL that stores vec4 `c` of the pixel at `base` of image `n` */
export const rmsNormShared = (store: (k: Codegen<Flags>) => string): Variant<Flags> => ({
  name: "shared",
  when: (target) => !target.software,
  workgroup: () => THREADS,
  grid: (d, batch) => linearGrid(batch * (d.H as number) * (d.W as number), 1),
  wgsl: (k) => wgsl`
${k.header}
var<workgroup> partial: array<f32, ${THREADS}>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${k.prelude}
  let pixel = wg.y * groups.x + wg.x;
  if (pixel >= N * H * W) { return; }
  let base = pixel * C4;
  let n = pixel / (H * W);
  var squares = vec4f();
  for (var c = lane; c < C4; c += ${THREADS}u) {
    let v = ${k.load("x", "base + c")};
    squares += v * v;
  }
  partial[lane] = dot(squares, vec4f(1.0));
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < ${THREADS}u; i++) { total += partial[i]; }
  let inverse = sqrt(f32(C)) / max(sqrt(total), 1e-12);
  for (var c = lane; c < C4; c += ${THREADS}u) { ${store(k)} }
}`,
});
