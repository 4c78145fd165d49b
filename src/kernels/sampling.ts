/**
 * The sampler's own kernels. The state x is f32 [N, H, W, C] in a buffer whatever the network's dtype; with guidance it
 * is stored twice, unconditional half first, so that the network sees both as one batch.
 */
import { type Codegen, defineKernel, type Flags } from "../runtime/kernel.ts";
import { ceilDiv } from "../runtime/values.ts";
import { wgsl } from "../runtime/wgsl.ts";
import { maskChannels, NORMAL_FUNCTIONS } from "./parts/normal.ts";

/** Words before the image numbers in the `run` table: the seed's low and high half. */
export const RUN_HEADER = 2;

export interface StateFlags extends Flags {
  /** The state is stored twice. */
  guided: boolean;
}

const grid = (d: Readonly<Record<string, number>>, batch: number, wg: number) =>
  [ceilDiv((d.W as number) * (d.C4 as number), wg), d.H as number, batch] as const;
const workgroup = (target: { software: boolean }) => (target.software ? 32 : 64);

/** Scope of a thread: image n, channel group c4 and linear index i of one vec4 of the state. */
const thread = (k: Codegen<Flags>): string => `@compute @workgroup_size(${k.workgroup})
fn main(@builtin(global_invocation_id) id: vec3u) {
  ${k.prelude}
  if (id.x >= W * C4) { return; }
  let n = id.z;
  let c4 = id.x % C4;
  let pixel = id.y * W + id.x / C4;
  let i = (n * H * W + pixel) * C4 + c4;`;

const NORMAL = (step: string) => `normal4(vec4u(pixel, c4, ${step}, run[${RUN_HEADER}u + n]), vec2u(run[0], run[1]))`;

/** x = x_T of images run[2 + n]. */
export const initialNoise = defineKernel<StateFlags>({
  name: "initialNoise",
  tensors: { run: "in *", x: "out N H W C" },
  variants: [
    {
      name: "direct",
      workgroup,
      grid,
      wgsl: (k) => wgsl`
${k.header}
${NORMAL_FUNCTIONS}
${thread(k)}
  var z = ${NORMAL("0xffffffffu")};
  ${maskChannels("z", "c4")}
  ${k.store("x", "i", "z")}
  #if ${k.flags.guided}
  ${k.store("x", "i + N * H * W * C4", "z")}
  #endif
}`,
    },
  ],
  cost: (d, batch) => ({ flops: 0, bytes: 16 * batch * (d.H as number) * (d.W as number) * (d.C4 as number) }),
});

export interface StepFlags extends StateFlags {
  /** The schedule adds noise in some step. */
  noise: boolean;
}

/**
 * Guidance and one DDIM step in a single dispatch:
 * m = m_u + w·(m_c − m_u);  x0 = clip(k0·x + k1·m);  x ← k2·x0 + k3·x + k4·m + σ·z  (src/sampler/coefficients.ts).
 * Row `frame.w` of `coefficients` is (k0, k1, k2, k3), (k4, σ, clip or 0, w). `m` may have more channels than x (learned
 * variance): the first ones count. `status[n]` becomes the first step whose x0 is not finite, found by its exponent bits
 * before clipping, because clamp(NaN) is a number and compilers fold `v != v` away.
 */
export const ddimStep = defineKernel<StepFlags>({
  name: "ddimStep",
  tensors: {
    x: "inout N H W C",
    m: "in N H W O",
    coefficients: "in *",
    run: "in *",
    status: "atomic *",
    x0: "out N H W C",
  },
  frame: true,
  variants: [
    {
      name: "direct",
      workgroup,
      grid,
      wgsl: (k) => wgsl`
${k.header}
${k.flags.noise ? NORMAL_FUNCTIONS : ""}
${thread(k)}
  let a = ${k.load("coefficients", "frame.w * 2u")};
  let b = ${k.load("coefficients", "frame.w * 2u + 1u")};
  let mi = (n * H * W + pixel) * O4 + c4;
  let state = ${k.load("x", "i")};
  var predicted = ${k.load("m", "mi")};
  #if ${k.flags.guided}
  predicted += b.w * (${k.load("m", "mi + N * H * W * O4")} - predicted);
  #endif
  ${maskChannels("predicted", "c4")}
  var clean = a.x * state + a.y * predicted;
  let exponent = bitcast<vec4u>(clean) & vec4u(0x7f800000u);
  if (any(exponent == vec4u(0x7f800000u))) { atomicMin(&status[n], frame.w); }
  if (b.z > 0.0) { clean = clamp(clean, vec4f(-b.z), vec4f(b.z)); }
  var next = a.z * clean + a.w * state + b.x * predicted;
  #if ${k.flags.noise}
  if (b.y > 0.0) {
    var z = ${NORMAL("frame.w")};
    ${maskChannels("z", "c4")}
    next += b.y * z;
  }
  #endif
  ${k.store("x", "i", "next")}
  #if ${k.flags.guided}
  ${k.store("x", "i + N * H * W * C4", "next")}
  #endif
  ${k.store("x0", "i", "clean")}
}`,
    },
  ],
  cost(d, batch, flags) {
    const vectors = batch * (d.H as number) * (d.W as number) * (d.C4 as number);
    return { flops: 40 * vectors, bytes: 16 * vectors * (flags.guided ? 6 : 4) };
  },
});

/**
 * RGBA bytes of x in −1..1: clamp(x/2 + 0.5, 0, 1)·255, rounded half to even as numpy does (diffusers,
 * VaeImageProcessor.postprocess). One channel is grey, missing channels are 0, alpha is 255.
 */
export const toRgba = defineKernel({
  name: "toRgba",
  tensors: { x: "in N H W C", rgba: "out N H W" },
  variants: [
    {
      name: "direct",
      workgroup,
      grid: (d, batch, wg) => [ceilDiv(d.W as number, wg), d.H as number, batch],
      wgsl: (k) => wgsl`
${k.header}
@compute @workgroup_size(${k.workgroup})
fn main(@builtin(global_invocation_id) id: vec3u) {
  ${k.prelude}
  if (id.x >= W) { return; }
  let pixel = (id.z * H + id.y) * W + id.x;
  var v = ${k.load("x", "pixel * C4")};
  if (C == 1u) { v = v.xxxx; }
  let byte = vec4u(round(clamp(v * 0.5 + 0.5, vec4f(), vec4f(1.0)) * 255.0));
  let blue = select(byte.z, 0u, C == 2u);
  rgba[pixel] = byte.x | (byte.y << 8u) | (blue << 16u) | 0xff000000u;
}`,
    },
  ],
  cost: (d, batch) => ({ flops: 0, bytes: 20 * batch * (d.H as number) * (d.W as number) }),
});
