/** The self-test of the sampler's own kernels: starting noise, the fused step, pixels. */
import { initialNoise } from "../../kernels/sampling/noise.ts";
import { runRecord, updateRecord } from "../../kernels/sampling/records.ts";
import { toRgba } from "../../kernels/sampling/rgba.ts";
import { ddimStep } from "../../kernels/sampling/step.ts";
import { targetFor } from "../../kernels/target.ts";
import type { Device } from "../../runtime/device.ts";
import type { Value } from "../../runtime/values.ts";
import { initialNoise as hostNoise, philox4x32, stepNoise } from "../../sampler/philox.ts";
import { plainUpdate } from "../../sampler/plan.ts";
import { referenceStep } from "../../sampler/referenceStep.ts";
import { makeSchedule } from "../../sampler/schedule.ts";
import { exact, H, N, nmse, normals, type Outcome, PIXELS, run, SEED, value, W } from "./harness.ts";

/** The sampler's state lives in buffers. */
const plain = (device: Device) => ({ ...targetFor(device), storage: "buffer" }) as const;

/** Images as the sampler's kernels store them, NHWC with four channels, from planes. */
const interleaved = (planes: readonly Float32Array[]) =>
  Float32Array.from({ length: PIXELS * 4 }, (_, i) => {
    const pixel = i >> 2;
    return planes[Math.floor(pixel / (H * W))]?.[(i & 3) * H * W + (pixel % (H * W))] as number;
  });

/** Images 0 and 1, unguided. */
const runTable = () =>
  runRecord.pack([
    { seedLow: Number(SEED & 0xffffffffn), seedHigh: Number(SEED >> 32n), images: [{ number: 0 }, { number: 1 }] },
  ]);

export async function noise(device: Device): Promise<Outcome> {
  const [words, x] = [value("run", [4 + 4 * N], { dtype: "u32", batched: false }), value("x", [H, W, 4])];
  const call = initialNoise.lower(plain(device), "x_T", { run: words, x }, { guided: false });
  const inputs = new Map([[words, runTable()]]);
  const [result] = await run(device, { calls: [call], weights: [], batch: N, inputs, outputs: [x] });
  const expected = interleaved([0, 1].map((image) => hostNoise(SEED, image, 4, H, W)));
  return nmse(new Float32Array(result as ArrayBuffer), expected, 1e-12);
}

/** A clipped step with noise; the second image holds a NaN, which must be found and named. */
export async function step(device: Device): Promise<Outcome> {
  const [first] = makeSchedule({ steps: 4, eta: 1 }).steps;
  if (!first) throw new TypeError("internal: a schedule without steps");
  const [x, m] = [normals(7, PIXELS * 4), normals(8, PIXELS * 4)];
  m[m.length - 1] = Number.NaN;
  const u32 = { dtype: "u32", batched: false } as const;
  const tensors = {
    x: value("x", [H, W, 4]),
    m: value("m", [H, W, 4]),
    updates: value("updates", [updateRecord.size / 4], u32),
    run: value("run", [4 + 4 * N], u32),
    status: value("status", [N], u32),
    x0: value("x0", [H, W, 4]),
  };
  const inputs = new Map<Value, Float32Array | Uint32Array>([
    [tensors.x, x],
    [tensors.m, m],
    [tensors.updates, updateRecord.pack([plainUpdate(first)])],
    [tensors.run, runTable()],
    [tensors.status, new Uint32Array(N).fill(0xffffffff)],
  ]);
  const flags = {
    guided: false,
    rescale: false,
    wider: false,
    threshold: false,
    noise: "philox",
    learned: false,
  } as const;
  const calls = [ddimStep.lower(plain(device), "step", tensors, flags)];
  const outputs = [tensors.x, tensors.x0, tensors.status];
  const [next, x0, status] = await run(device, { calls, weights: [], batch: N, inputs, outputs });
  const z = interleaved([0, 1].map((image) => stepNoise(SEED, image, 0, [4, H, W])));
  const one = (PIXELS * 4) / N;
  const [a, b, c] = [x, m, z].map((t) => t.subarray(0, one)) as [Float32Array, Float32Array, Float32Array];
  const expected = referenceStep(first, a, b, c);
  const found = exact(new Uint32Array(status as ArrayBuffer), [0xffffffff, 0]);
  if (!found.ok) return { ok: false, detail: "a NaN in image 1 was not found" };
  const clean = nmse(new Float32Array(x0 as ArrayBuffer).subarray(0, one), expected.x0, 1e-10);
  return clean.ok ? nmse(new Float32Array(next as ArrayBuffer).subarray(0, one), expected.x, 1e-10) : clean;
}

export async function pixels(device: Device): Promise<Outcome> {
  const [x, rgba] = [value("x", [H, W, 4]), value("rgba", [H, W], { dtype: "u32" })];
  const byte = (i: number) => (i * 89) % 256;
  const data = Float32Array.from({ length: PIXELS * 4 }, (_, i) => byte(i) / 127.5 - 1);
  const calls = [toRgba.lower(plain(device), "pixels", { x, rgba }, {})];
  const [result] = await run(device, { calls, weights: [], batch: N, inputs: new Map([[x, data]]), outputs: [rgba] });
  return exact(
    new Uint8Array(result as ArrayBuffer),
    data.map((_, i) => (i % 4 === 3 ? 255 : byte(i))),
  );
}

/** The known answer published with Random123 for counter and key of ones. */
export async function philox(): Promise<Outcome> {
  const ones = 0xffffffff;
  return exact(philox4x32([ones, ones, ones, ones], [ones, ones]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
}
