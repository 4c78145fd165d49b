/** What every kernel of streaming attention is specialised for. */
import type { Flags } from "../../runtime/kernel.ts";

export interface AttentionFlags extends Flags {
  /** vec4s per head: loops over a head are unrolled where that pays. */
  d4: number;
}
