/** Seeds as callers give them. */
import { UsageError } from "../runtime/errors.ts";
import { shown } from "../runtime/printable.ts";

/**
 * A seed as the generators take it.
 * @param option named in the error
 * @throws UsageError for anything but a whole number from 0 to 2^64-1
 */
export function wholeSeed(seed: number | bigint, option = "seed"): bigint {
  if (typeof seed !== "bigint" && !Number.isSafeInteger(seed)) {
    throw new UsageError(option, `${option} must be a whole number, got ${shown(seed)}; larger ones as bigint`);
  }
  const value = BigInt(seed);
  if (value < 0n || value > 0xffffffffffffffffn)
    throw new UsageError(option, `${option} must be within 0..2^64-1, got ${value}`);
  return value;
}
