/** What a model's files hold besides what this package knows: refused, or passed over with a warning where the caller says so. */
import { UsageError } from "../runtime/errors.ts";

export interface UnknownOptions {
  /** "warn": pass over keys of configurations and tensors that nothing here knows, and say so. Default: refuse them. */
  readonly unknown?: "error" | "warn";
  /** Takes a sentence for whatever is passed over. */
  readonly warn?: (text: string) => void;
}

/** The way out that a refusal tells. */
export const IGNORE_UNKNOWN = '--ignore-unknown (library: unknown: "warn")';

/** @throws UsageError when the choice is none */
export function checkUnknown(unknown: unknown): void {
  if (unknown !== undefined && unknown !== "error" && unknown !== "warn")
    throw new UsageError("unknown", `unknown must be error or warn, got ${String(unknown)}`);
}
