/**
 * The fused step against a kernel that only copies the same bytes: `node bench/step.mjs [batch] [size]`. Both read two states and
 * write two, 256 x 256 x 3 x 16 by default (eta 0, no guidance). Needs a build (`npm run build`).
 */

import { ddimStep, defineKernel, makeValue, Program, targetFor } from "../dist/kernels/index.js";
import { makeSchedule, openNodeDevice } from "../dist/node/index.js";

const [batch = 16, side = 256] = process.argv.slice(2).map(Number);
const REPEATS = 20;

const copy = defineKernel({
  name: "copy",
  tensors: { x: "in N H W C", m: "in N H W C", a: "out N H W C", b: "out N H W C" },
  variants: [
    {
      name: "direct",
      workgroup: (target) => (target.software ? 32 : 64),
      grid: (d, n, wg) => [Math.ceil((d.W * d.C4) / wg), d.H, n],
      wgsl: (k) => `${k.header}
@compute @workgroup_size(${k.workgroup})
fn main(@builtin(global_invocation_id) id: vec3u) {
  ${k.prelude}
  if (id.x >= W * C4) { return; }
  let i = (id.z * H * W + id.y * W) * C4 + id.x;
  a[i] = x[i];
  b[i] = m[i];
}`,
    },
  ],
  cost: () => ({ flops: 0, bytes: 0 }),
});

const device = await openNodeDevice({ fast: true });
const target = { ...targetFor(device), storage: "buffer" };
const value = (name, shape, dtype = "f32", batched = true) =>
  makeValue({ name, shape, batched, dtype, storage: "buffer" });
const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
const arrays = new Map();
function make(name, shape, data, dtype, batched) {
  const v = value(name, shape, dtype, batched);
  const object = device.createBuffer({ label: name, size: data?.byteLength ?? batch * side * side * 16, usage });
  if (data) device.gpu.queue.writeBuffer(object, 0, data);
  arrays.set(v, { object, resource: { buffer: object }, bytes: object.size });
  return v;
}
const state = (name) => make(name, [side, side, 3]);
const [step] = makeSchedule({ steps: 50 }).steps;
const { k0, k1, k2, k3, k4 } = step.coefficients;
const row = Float32Array.of(k0, k1, 1, 1, k2, k3, k4, 0, 0, 0, 0, 0, 0, 0, 0, 0);
const [x, m, x0] = ["x", "m", "x0"].map(state);
const tensors = {
  ...{ x, m, x0 },
  coefficients: make("coefficients", [4, 4], row, "f32", false),
  run: make("run", [4 + 4 * batch], new Uint32Array(4 + 4 * batch), "u32", false),
  status: make("status", [batch], new Uint32Array(Math.max(4, batch)), "u32", false),
};
const flags = { guided: false, rescale: false, threshold: false, noise: "none", learned: false };
const frame = device.createBuffer({ size: 16, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
const calls = {
  copy: copy.lower(target, "copy", { x, m, a: state("a"), b: x0 }, {}),
  step: ddimStep.lower(target, "step", tensors, flags),
};
const bytes = 4 * batch * side * side * 16;

async function time(call) {
  const program = await Program.create(device, { label: "bench", calls: [call], batch, external: arrays, frame });
  const once = async () => {
    const encoder = device.gpu.createCommandEncoder();
    for (let i = 0; i < REPEATS; i++) program.encode(encoder);
    const start = performance.now();
    device.submit([encoder.finish()]);
    await device.gpu.queue.onSubmittedWorkDone();
    return (performance.now() - start) / REPEATS;
  };
  await once();
  const times = [];
  for (let i = 0; i < 9; i++) times.push(await once());
  program.dispose();
  return times.sort((a, b) => a - b)[4];
}

const ms = { copy: await time(calls.copy), step: await time(calls.step) };
const rate = (t) => `${t.toFixed(3)} ms, ${(bytes / t / 1e6).toFixed(1)} GB/s`;
console.log(`${device.name}, state ${side} x ${side} x 3 x ${batch}`);
console.log(`copy ${rate(ms.copy)}\nstep ${rate(ms.step)}\nratio ${(ms.copy / ms.step).toFixed(2)}`);
device.dispose();
