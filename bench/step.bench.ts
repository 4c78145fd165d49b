/**
 * The fused step against a kernel that only copies the same bytes: both read two states and write two, 256 x 256 x 3 x 16
 * (eta 0, no guidance). Run with `npx vitest bench --run bench/step.bench.ts`; compare the two means.
 */
import { afterAll, bench, describe } from "vitest";
import { ddimStep } from "../src/kernels/sampling/step.ts";
import { targetFor } from "../src/kernels/target.ts";
import { openNodeDevice } from "../src/node/device.ts";
import { defineKernel, type KernelCall, type Target } from "../src/runtime/kernel.ts";
import { arrayOf, createValueArray, type GpuArray, uploadBuffer } from "../src/runtime/memory.ts";
import { Program } from "../src/runtime/program.ts";
import { makeValue, type Value } from "../src/runtime/values.ts";
import { planSchedule, updateTable } from "../src/sampler/plan.ts";
import { makeSchedule } from "../src/sampler/schedule.ts";
import { runTable, stateValues } from "../src/sampler/stateKernels.ts";

const SIDE = 256;
const BATCH = 16;
const REPEATS = 10;

const copy = defineKernel({
  name: "copy",
  tensors: { x: "in N H W C", m: "in N H W C", a: "out N H W C", b: "out N H W C" },
  variants: [
    {
      name: "direct",
      workgroup: (target) => (target.software ? 32 : 64),
      grid: ({ W = 0, C4 = 0, H = 0 }, batch, wg) => [Math.ceil((W * C4) / wg), H, batch],
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
const target: Target = { ...targetFor(device), storage: "buffer" };
const plan = planSchedule(makeSchedule({ steps: 50 }));
const choices = { shape: [3, SIDE, SIDE], plan, seed: 1n, images: Array.from({ length: BATCH }, (_, i) => i) } as const;
const values = stateValues(choices);
const state = (name: string) =>
  makeValue({ name, shape: [SIDE, SIDE, 3], batched: true, dtype: "f32", storage: "buffer" });
const [m, a] = [state("m"), state("a")];
const arrays = new Map<Value, GpuArray>([
  ...[values.x, values.x0, m, a, values.status].map((v) => [v, createValueArray(device, v, BATCH)] as const),
  [values.run, arrayOf(uploadBuffer(device, "run", runTable(choices)))],
  [values.updates, arrayOf(uploadBuffer(device, "updates", updateTable(plan)))],
]);
const frame = uploadBuffer(device, "frame", new Uint32Array(4), GPUBufferUsage.UNIFORM);
const make = (call: KernelCall) =>
  Program.create(device, { label: "bench", calls: [call], batch: BATCH, external: arrays, frame });
const flags = { guided: false, rescale: false, wider: false, threshold: false, noise: "none", learned: false } as const;
const programs = {
  copy: await make(copy.lower(target, "copy", { x: values.x, m, a, b: values.x0 }, {})),
  step: await make(ddimStep.lower(target, "step", { ...values, m, z: undefined, factors: undefined }, flags)),
};

afterAll(() => device.dispose());

describe(`${REPEATS} dispatches on ${SIDE} x ${SIDE} x 3 x ${BATCH}, ${device.name}`, () => {
  for (const [name, program] of Object.entries(programs))
    bench(name, async () => {
      const encoder = device.gpu.createCommandEncoder();
      for (let i = 0; i < REPEATS; i++) program.encode(encoder);
      device.submit([encoder.finish()]);
      await device.done();
    });
});
