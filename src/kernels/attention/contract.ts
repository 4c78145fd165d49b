/** What the kernels of attention share. */
import type { Flags } from "../../runtime/kernel.ts";
import type { Value } from "../../runtime/values.ts";

/** Heads are segments of equal size; `k` starts at channel group `kGroup` of `kv`, `v` at `vGroup`, `q` at 0. */
export interface AttentionInit {
  readonly q: Value;
  readonly kv: Value;
  readonly heads: number;
  readonly headDim: number;
  readonly kGroup: number;
  readonly vGroup: number;
}

export const pixels = ({ shape }: Value): number => (shape[0] as number) * (shape[1] as number);

export interface AttentionFlags extends Flags {
  /** vec4s per head: loops over a head are unrolled where that pays. */
  d4: number;
}

/** Statements: how many queries and keys there are. */
export const LENGTHS = `let LQ = HQ * WQ;
  let LK = HK * WK;`;
