/**
 * The tensors of a case: seeded by its name, so that a test, a benchmark and a second machine see the same numbers.
 * Weights have the size of trained ones (1/√fan-in), norms are near 1 and 0, no parameter is left at a value that hides it.
 */
import {
  type AttentionCase,
  type Conv2dCase,
  caseName,
  type DdimStepCase,
  type GroupNormCase,
  type LayerNormCase,
  type LinearCase,
} from "../cases.ts";
import type { AttentionArgs } from "./attention.ts";
import type { Conv2dArgs } from "./conv2d.ts";
import type { DdimStepArgs } from "./ddimStep.ts";
import type { GroupNormArgs } from "./groupNorm.ts";
import type { LayerNormArgs } from "./layerNorm.ts";
import type { LinearArgs } from "./linear.ts";
import { type RefTensor, randomTensor } from "./tensor.ts";

type Make = (shape: readonly number[], options?: { scale?: number; mean?: number }) => RefTensor;

/** Random tensors, each from a seed of its own, all of them from the name (FNV-1a). */
export function tensorsOf(name: string): Make {
  let seed = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) seed = Math.imul(seed ^ name.charCodeAt(i), 0x01000193);
  return (shape, options) => randomTensor(shape, seed++, options);
}

const gammaOf = (make: Make, c: number) => make([c], { scale: 0.2, mean: 1 });
const betaOf = (make: Make, c: number) => make([c], { scale: 0.2 });

export function conv2dInputs(it: Conv2dCase): Conv2dArgs {
  const make = tensorsOf(caseName("conv2d", it));
  const { n, h, w, c, c2 = 0, o, k, stride = 1, pad } = it;
  const grown = it.upsample ? 2 : 1;
  const ho = Math.floor((h * grown + pad[0] + pad[2] - k) / stride) + 1;
  const wo = Math.floor((w * grown + pad[1] + pad[3] - k) / stride) + 1;
  return {
    x: make([n, h, w, c]),
    x2: c2 ? make([n, h, w, c2]) : undefined,
    affine: it.affine
      ? { scale: make([n, c + c2], { scale: 0.2, mean: 1 }), shift: make([n, c + c2], { scale: 0.5 }) }
      : undefined,
    act: it.act,
    upsample: it.upsample,
    weight: make([o, c + c2, k, k], { scale: ((c + c2) * k * k) ** -0.5 }),
    bias: it.noBias ? undefined : make([o], { scale: 0.1 }),
    stride,
    pad,
    channelAdd: it.channelAdd ? make([n, o]) : undefined,
    residual: it.residual ? make([n, ho, wo, o]) : undefined,
    outScale: it.outScale,
  };
}

export function groupNormInputs(it: GroupNormCase): GroupNormArgs {
  const make = tensorsOf(caseName("groupNorm", it));
  const { n, h, w, c, c2 = 0, groups, eps, mean, scale } = it;
  return {
    x: make([n, h, w, c], { mean, scale }),
    x2: c2 ? make([n, h, w, c2], { mean, scale }) : undefined,
    gamma: gammaOf(make, c + c2),
    beta: betaOf(make, c + c2),
    groups,
    eps,
    emb: it.emb ? make([n, 2 * (c + c2)], { scale: 0.5 }) : undefined,
  };
}

export function attentionInputs(it: AttentionCase): AttentionArgs {
  const make = tensorsOf(caseName("attention", it));
  const { n, l, lk = l, heads, d, qScale } = it;
  const c = heads * d;
  return { q: make([n, l, c], { scale: qScale }), k: make([n, lk, c]), v: make([n, lk, c]), heads };
}

export function linearInputs(it: LinearCase): LinearArgs {
  const make = tensorsOf(caseName("linear", it));
  const { m, k, o } = it;
  const weight = make([o, k], { scale: k ** -0.5 });
  return { x: make([m, k]), weight, bias: it.noBias ? undefined : make([o], { scale: 0.1 }) };
}

export function layerNormInputs(it: LayerNormCase): LayerNormArgs {
  const make = tensorsOf(caseName("layerNorm", it));
  return {
    x: make([it.rows, it.c], { mean: it.mean }),
    gamma: gammaOf(make, it.c),
    beta: betaOf(make, it.c),
    eps: 1e-5,
  };
}

/** The scalars k are near those of an epsilon step from ᾱ = 0.3 to 0.6, with none left at 0, which would hide it. */
export function ddimStepInputs(it: DdimStepCase): DdimStepArgs {
  const make = tensorsOf(caseName("ddimStep", it));
  const { n, h, w, c, guidance, clip, sigma } = it;
  const direction = Math.sqrt(0.4 - (sigma ?? 0) ** 2);
  return {
    x: make([n, h, w, c]),
    model: make([guidance === undefined ? n : 2 * n, h, w, c]),
    guidance,
    k: [1 / Math.sqrt(0.3), -Math.sqrt(0.7 / 0.3), Math.sqrt(0.6) - 0.125, 0.0625, direction],
    clip,
    sigma,
    noise: sigma === undefined ? undefined : make([n, h, w, c]),
  };
}
