/**
 * One table of shapes per kernel, for tests, benchmarks and self-checks alike: shapes of real UNets (the shipped models,
 * ddpm-cifar10-32) and awkward ones that a vec4 or tile assumption trips over. A case is a plain object of numbers and
 * names; `caseName` is its identity, and `test/reference/inputs.ts` makes its seeded tensors. Cases marked `big` are for
 * real work: f64 loops take a few tenths of a second for them, everything else takes milliseconds.
 */

export type CaseAct = "none" | "silu" | "relu" | "gelu" | "mish";

export interface Conv2dCase {
  /** Size of the input before upsampling. */
  n: number;
  h: number;
  w: number;
  c: number;
  /** Channels of a second source, concatenated on load. */
  c2?: number;
  o: number;
  k: number;
  stride?: number;
  /** Top, left, bottom, right. */
  pad: readonly [number, number, number, number];
  affine?: boolean;
  act?: CaseAct;
  upsample?: boolean;
  noBias?: boolean;
  channelAdd?: boolean;
  residual?: boolean;
  outScale?: number;
  big?: boolean;
}

const none = [0, 0, 0, 0] as const;
const same = [1, 1, 1, 1] as const;
const rightBottom = [0, 0, 1, 1] as const;
const silu = { affine: true, act: "silu" } as const;

export const conv2dCases: readonly Conv2dCase[] = [
  // pixel-avatars-16: conv_in, the two convolutions of a resnet, both samplers, a skip with its shortcut, conv_out.
  { n: 2, h: 16, w: 16, c: 3, o: 32, k: 3, pad: same },
  { n: 2, h: 8, w: 8, c: 32, o: 64, k: 3, pad: same, ...silu, channelAdd: true },
  { n: 7, h: 4, w: 4, c: 64, o: 64, k: 3, pad: same, ...silu, residual: true },
  { n: 1, h: 16, w: 16, c: 32, o: 32, k: 3, stride: 2, pad: rightBottom },
  { n: 2, h: 8, w: 8, c: 64, o: 64, k: 3, pad: same, upsample: true },
  { n: 1, h: 16, w: 16, c: 64, c2: 32, o: 32, k: 3, pad: same, ...silu, channelAdd: true },
  { n: 2, h: 16, w: 16, c: 64, c2: 32, o: 32, k: 1, pad: none },
  { n: 2, h: 16, w: 16, c: 32, o: 3, k: 3, pad: same, ...silu },
  // crawl-tiles-32.
  { n: 1, h: 32, w: 32, c: 32, o: 32, k: 3, pad: same, ...silu, residual: true },
  { n: 2, h: 16, w: 16, c: 64, o: 64, k: 3, stride: 2, pad: same },
  { n: 1, h: 8, w: 8, c: 128, o: 128, k: 3, pad: same, ...silu, channelAdd: true },
  // ddpm-cifar10-32.
  { n: 1, h: 32, w: 32, c: 128, o: 128, k: 3, pad: same, ...silu, channelAdd: true, big: true },
  { n: 1, h: 16, w: 16, c: 256, o: 256, k: 3, pad: same, ...silu, residual: true, big: true },
  { n: 1, h: 4, w: 4, c: 256, c2: 256, o: 256, k: 3, pad: same, ...silu, channelAdd: true },
  { n: 2, h: 8, w: 8, c: 256, o: 256, k: 1, pad: none, residual: true },
  // Awkward: odd sizes, channels that are no multiple of 4, sources that end inside a vec4, other kernels and paddings.
  { n: 2, h: 7, w: 5, c: 3, o: 6, k: 3, pad: same },
  { n: 1, h: 1, w: 1, c: 6, o: 10, k: 3, pad: same, ...silu },
  { n: 2, h: 13, w: 18, c: 10, o: 3, k: 3, pad: same, affine: true, act: "relu", residual: true, outScale: 0.5 },
  { n: 1, h: 7, w: 5, c: 6, c2: 3, o: 6, k: 3, pad: same, ...silu, channelAdd: true },
  { n: 7, h: 7, w: 5, c: 10, c2: 6, o: 1, k: 1, pad: none, noBias: true },
  { n: 1, h: 13, w: 18, c: 6, o: 10, k: 3, stride: 2, pad: rightBottom },
  { n: 7, h: 7, w: 5, c: 1, o: 4, k: 3, stride: 2, pad: same },
  { n: 1, h: 13, w: 7, c: 4, o: 6, k: 5, pad: [2, 2, 2, 2], affine: true, act: "gelu" },
  { n: 2, h: 13, w: 18, c: 3, o: 8, k: 7, pad: [3, 3, 3, 3], noBias: true },
  { n: 2, h: 7, w: 5, c: 6, o: 6, k: 3, pad: same, affine: true, act: "mish", upsample: true },
  { n: 7, h: 9, w: 6, c: 22, o: 10, k: 3, pad: same, ...silu, residual: true, channelAdd: true, outScale: 0.5 },
  { n: 1, h: 6, w: 5, c: 8, o: 5, k: 3, pad: none, outScale: Math.SQRT1_2, residual: true, channelAdd: true },
];

export interface GroupNormCase {
  n: number;
  h: number;
  w: number;
  c: number;
  c2?: number;
  groups: number;
  eps: number;
  /** Scale and shift from the time embedding. */
  emb?: boolean;
  /** Mean of x, to show E[x²] − E[x]² for what it is. */
  mean?: number;
  /** Standard deviation of x, to show a forgotten or wrong eps. */
  scale?: number;
  act?: CaseAct;
  big?: boolean;
}

export const groupNormCases: readonly GroupNormCase[] = [
  { n: 2, h: 16, w: 16, c: 32, groups: 8, eps: 1e-6, act: "silu" },
  { n: 7, h: 4, w: 4, c: 64, groups: 8, eps: 1e-6 },
  { n: 1, h: 16, w: 16, c: 64, c2: 32, groups: 8, eps: 1e-6, act: "silu" },
  { n: 1, h: 32, w: 32, c: 32, groups: 16, eps: 1e-5, act: "silu" },
  { n: 1, h: 8, w: 8, c: 128, c2: 64, groups: 16, eps: 1e-5 },
  { n: 2, h: 32, w: 32, c: 128, groups: 32, eps: 1e-6, act: "silu" },
  { n: 1, h: 4, w: 4, c: 256, c2: 256, groups: 32, eps: 1e-6, act: "silu" },
  { n: 2, h: 7, w: 5, c: 8, groups: 4, eps: 1e-5, emb: true, act: "silu" },
  { n: 7, h: 13, w: 18, c: 12, groups: 3, eps: 1e-5, act: "relu" },
  { n: 1, h: 7, w: 5, c: 12, groups: 4, eps: 1e-5 },
  { n: 2, h: 7, w: 5, c: 6, groups: 2, eps: 1e-5, emb: true },
  { n: 1, h: 7, w: 5, c: 6, c2: 3, groups: 3, eps: 1e-5, act: "gelu" },
  { n: 2, h: 1, w: 1, c: 10, groups: 1, eps: 1e-5 },
  { n: 1, h: 8, w: 8, c: 8, groups: 8, eps: 1e-5, mean: 100 },
  { n: 1, h: 8, w: 8, c: 16, groups: 4, eps: 1e-6, scale: 1e-3 },
  { n: 1, h: 64, w: 64, c: 128, groups: 32, eps: 1e-6, act: "silu", big: true },
];

export interface AttentionCase {
  n: number;
  /** Queries. */
  l: number;
  /** Keys, when they are not as many. */
  lk?: number;
  heads: number;
  /** Channels per head. */
  d: number;
  /** Standard deviation of q: logits so large that softmax without its maximum overflows. */
  qScale?: number;
}

export const attentionCases: readonly AttentionCase[] = [
  { n: 2, l: 16, heads: 1, d: 64 },
  { n: 2, l: 64, heads: 2, d: 64 },
  { n: 1, l: 256, heads: 1, d: 256 },
  { n: 7, l: 35, heads: 3, d: 4 },
  { n: 2, l: 256, heads: 4, d: 8 },
  { n: 1, l: 1, heads: 4, d: 16 },
  { n: 2, l: 64, lk: 77, heads: 8, d: 40 },
  { n: 1, l: 100, heads: 2, d: 80 },
  { n: 1, l: 25, lk: 1, heads: 1, d: 160 },
  { n: 1, l: 49, heads: 1, d: 512 },
  { n: 1, l: 13, lk: 18, heads: 2, d: 6 },
  { n: 1, l: 33, heads: 2, d: 16, qScale: 60 },
];

export interface CodebookCase {
  n: number;
  h: number;
  w: number;
  c: number;
  /** Rows of the codebook. */
  rows: number;
}

export const codebookCases: readonly CodebookCase[] = [
  // The first stage of cin256-v2 on a corner of its latents; others have four channels, or hundreds.
  { n: 1, h: 16, w: 16, c: 3, rows: 8192 },
  { n: 2, h: 8, w: 8, c: 4, rows: 256 },
  { n: 1, h: 4, w: 4, c: 256, rows: 100 },
  // Awkward: odd sizes, one pixel, one row, channels that are no multiple of 4.
  { n: 7, h: 5, w: 3, c: 6, rows: 37 },
  { n: 1, h: 1, w: 1, c: 1, rows: 2 },
  { n: 2, h: 9, w: 11, c: 5, rows: 1 },
];

export interface LinearCase {
  m: number;
  k: number;
  o: number;
  noBias?: boolean;
}

export const linearCases: readonly LinearCase[] = [
  { m: 2, k: 32, o: 128 },
  { m: 1, k: 128, o: 128 },
  { m: 7, k: 128, o: 64 },
  { m: 50, k: 512, o: 256 },
  { m: 64, k: 64, o: 64 },
  { m: 3, k: 6, o: 10, noBias: true },
  { m: 1, k: 1, o: 1 },
  { m: 35, k: 13, o: 3 },
  { m: 256, k: 256, o: 768 },
];

export interface LayerNormCase {
  rows: number;
  c: number;
  mean?: number;
}

export const layerNormCases: readonly LayerNormCase[] = [
  { rows: 1, c: 1 },
  { rows: 7, c: 6 },
  { rows: 64, c: 64 },
  { rows: 77, c: 320, mean: 100 },
  { rows: 2, c: 1280 },
];

/** Shapes of pointwise and resampling kernels; `c2` is the second source of a concatenation. */
export interface ShapeCase {
  n: number;
  h: number;
  w: number;
  c: number;
  c2: number;
}

export const shapeCases: readonly ShapeCase[] = [
  { n: 2, h: 16, w: 16, c: 32, c2: 32 },
  { n: 7, h: 4, w: 4, c: 64, c2: 32 },
  { n: 1, h: 1, w: 1, c: 1, c2: 6 },
  { n: 2, h: 7, w: 5, c: 6, c2: 3 },
  { n: 1, h: 13, w: 18, c: 10, c2: 1 },
  { n: 1, h: 8, w: 8, c: 3, c2: 4 },
];

/** Of operations that few networks have. */
export interface RareCase {
  n: number;
  h: number;
  w: number;
  c: number;
  /** Channels of a second segment. */
  c2?: number;
  o?: number;
  k?: number;
  heads?: number;
  /** Learned tokens. */
  memory?: number;
  /** With scale and shift. */
  emb?: boolean;
}

export const depthwiseConv2dCases: readonly RareCase[] = [
  { n: 2, h: 16, w: 16, c: 16, k: 7 },
  { n: 1, h: 8, w: 8, c: 24, c2: 24, k: 7 },
  { n: 3, h: 9, w: 13, c: 6, k: 7 },
  { n: 2, h: 3, w: 2, c: 3, c2: 6, k: 7 },
  { n: 1, h: 5, w: 18, c: 10, k: 3 },
];

export const transposedConv2dCases: readonly RareCase[] = [
  { n: 2, h: 8, w: 8, c: 24, o: 24, k: 4 },
  { n: 1, h: 5, w: 3, c: 6, o: 10, k: 4 },
  { n: 3, h: 1, w: 1, c: 3, c2: 5, o: 2, k: 4 },
  { n: 1, h: 4, w: 6, c: 8, o: 8, k: 2 },
];

export const linearAttentionCases: readonly RareCase[] = [
  // c: channels of a head.
  { n: 2, h: 8, w: 8, c: 32, heads: 4 },
  { n: 1, h: 17, w: 19, c: 32, heads: 2, memory: 4 },
  { n: 3, h: 3, w: 5, c: 6, heads: 3, memory: 2 },
  { n: 1, h: 2, w: 2, c: 72, heads: 1 },
];

export const rmsNormCases: readonly RareCase[] = [
  { n: 2, h: 8, w: 8, c: 32, emb: true },
  { n: 3, h: 5, w: 3, c: 6 },
  { n: 1, h: 2, w: 7, c: 318, emb: true },
];

export const addVectorCases: readonly RareCase[] = [
  { n: 3, h: 8, w: 8, c: 16 },
  { n: 2, h: 5, w: 3, c: 6, c2: 3 },
];

export const compactCases: readonly RareCase[] = [
  { n: 2, h: 8, w: 8, c: 6, c2: 10 },
  { n: 3, h: 5, w: 3, c: 3, c2: 2 },
];

export const prependRowsCases: readonly RareCase[] = [
  { n: 2, h: 4, w: 4, c: 32, heads: 4, memory: 4 },
  { n: 3, h: 5, w: 3, c: 6, heads: 2, memory: 3 },
];

export const takeSegmentsCases: readonly RareCase[] = [{ n: 3, h: 5, w: 3, c: 6, c2: 8 }];

export const unitChannelsCases: readonly RareCase[] = [
  { n: 2, h: 4, w: 4, c: 32, heads: 4 },
  { n: 3, h: 5, w: 3, c: 6, heads: 2 },
];

export const activationCases: readonly CaseAct[] = ["none", "silu", "relu", "gelu", "mish"];

export interface TimestepEmbeddingCase {
  timesteps: readonly number[];
  dim: number;
  flipSinToCos: boolean;
  freqShift: number;
}

export const timestepEmbeddingCases: readonly TimestepEmbeddingCase[] = [
  { timesteps: [0, 1, 500, 999], dim: 32, flipSinToCos: false, freqShift: 1 },
  { timesteps: [999], dim: 128, flipSinToCos: true, freqShift: 0 },
  { timesteps: [832.5, 7], dim: 10, flipSinToCos: true, freqShift: 0 },
  { timesteps: [3, 998, 20, 1, 0, 500, 250], dim: 7, flipSinToCos: false, freqShift: 0 },
];

export interface DdimStepCase {
  n: number;
  h: number;
  w: number;
  c: number;
  guidance?: number;
  clip?: number;
  sigma?: number;
}

export const ddimStepCases: readonly DdimStepCase[] = [
  { n: 2, h: 16, w: 16, c: 3, clip: 1 },
  { n: 1, h: 32, w: 32, c: 3, guidance: 2, clip: 1 },
  { n: 7, h: 7, w: 5, c: 1, sigma: 0.3 },
  { n: 2, h: 13, w: 18, c: 4, guidance: 7.5, clip: 2, sigma: 0.1 },
  { n: 1, h: 1, w: 1, c: 3 },
];

export const toRgbaCases: readonly Pick<ShapeCase, "n" | "h" | "w" | "c">[] = [
  { n: 2, h: 16, w: 16, c: 3 },
  { n: 7, h: 7, w: 5, c: 1 },
  { n: 1, h: 1, w: 1, c: 3 },
];

/** What a case is called: `conv2d(n=2, h=16, …, pad=1,1,1,1, act=silu)`. Unique within a kernel. */
export function caseName(kernel: string, values: object): string {
  const parts = Object.entries(values).filter(([key]) => key !== "big");
  return `${kernel}(${parts.map(([key, value]) => (value === true ? key : `${key}=${value}`)).join(", ")})`;
}
