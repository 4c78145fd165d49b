/**
 * What the sampler's kernels share. The state x is f32 [N, H, W, C] in a buffer whatever the network's dtype; with
 * guidance it is stored twice, conditional half first, so that the network sees both as one batch, or the first half alone
 * where nothing is guided.
 * records.ts has what the host tells them.
 */
import type { Codegen, Flags, Variant } from "../../runtime/kernel.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { NORMAL_FUNCTIONS } from "../parts/normal.ts";
import { inGrid } from "../parts/threads.ts";

/** Bits of the step word under which noise other than a step's own is drawn (docs/rng.md). */
export const RENOISE_WORD = 0x40000000;
export const KNOWN_WORD = 0x80000000;

export interface StateFlags extends Flags {
  /** The state is stored twice, and the network's output holds both halves. */
  guided: boolean;
}

export type NoiseSource = "none" | "philox" | "given";

/** Vectors of a state at batch N. */
export const stateVectors = (d: Readonly<Record<string, number>>, batch: number): number =>
  batch * (d.H as number) * (d.W as number) * (d.C4 as number);

/**
 * A thread for each vec4 of the state. In `body`: image n, the vec4 by its index e in the image and i in the batch, its pixel
 * and its channel group c4. The last two take divisions, which are dear on software adapters and vanish where they are not
 * used.
 */
export const perVector = <F extends Flags>(
  functions: (k: Codegen<F>) => string,
  body: (k: Codegen<F>) => string,
): [Variant<F>] =>
  inGrid<F>(["W C4", "H", "N"], {
    functions,
    body: (k) => wgsl`
  let n = id.z;
  let c4 = id.x % C4;
  let pixel = id.y * W + id.x / C4;
  let e = id.y * W * C4 + id.x;
  let i = n * H * W * C4 + e;
  ${body(k)}`,
  });

/** Philox noise of (step word, image n); antithetic images flip its sign. */
export const normal = (word: string): string =>
  `flipped(normal4(vec4u(pixel, c4, ${word}, run.images[n].number), vec2u(run.seedLow, run.seedHigh)), n)`;

/** The functions that {@link normal} calls. */
export const NOISE_FUNCTIONS = `${NORMAL_FUNCTIONS}
fn flipped(z: vec4f, n: u32) -> vec4f {
  return bitcast<vec4f>(bitcast<vec4u>(z) ^ vec4u(run.images[n].sign));
}`;

/** Writes `next` to every copy of the state. */
export const storeState = (k: Codegen<StateFlags>, next: string): string => `${k.store("x", "i", next)}
  ${k.flags.guided ? k.store("x", "i + N * H * W * C4", next) : ""}`;
