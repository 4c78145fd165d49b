/** What the kernels of streaming attention share. */
import type { Flags } from "../../runtime/kernel.ts";

export interface AttentionFlags extends Flags {
  /** vec4s per head: loops over a head are unrolled where that pays. */
  d4: number;
}

/** Statements: how many queries and keys there are. */
export const LENGTHS = `let LQ = HQ * WQ;
  let LK = HK * WK;`;
