/**
 * The only importer of `wgsl-preprocessor`. The library expands `#if ${x}` / `#elif` / `#else` / `#endif` in a tagged
 * template and pastes everything else as JavaScript would, so a forgotten value becomes the text "undefined" in a
 * shader. This wrapper accepts strings, finite numbers and booleans only.
 */
import { wgsl as expand } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { DeviceError } from "./errors.ts";

export type WgslValue = string | number | boolean;

/**
 * Tag for WGSL source. `#if` and `#elif` must be followed directly by an interpolation; conditions follow JavaScript
 * truthiness and are therefore required to be booleans or numbers ("false" would be true).
 * @throws TypeError naming the neighbouring source when a value is undefined, null, NaN, infinite or not a scalar, or
 *   when a condition is a string.
 */
export function wgsl(strings: TemplateStringsArray, ...values: WgslValue[]): string {
  values.forEach((value, i) => {
    const type = typeof value;
    const before = (strings[i] ?? "").trim().split("\n").at(-1) ?? "";
    const text = type === "string" && !/#(el)?if$/.test(before);
    if (!text && type !== "boolean" && !(type === "number" && Number.isFinite(value)))
      throw new TypeError(`internal: WGSL value ${i} after "${before.slice(-40)}" is ${String(value)}`);
  });
  return expand(strings, ...values);
}

/** A u32 literal. @throws TypeError when the value is not an integer in 0..2^32-1. */
export function u32(value: number): string {
  if (!Number.isInteger(value) || value < 0 || value > 0xffffffff)
    throw new TypeError(`internal: ${value} is not a u32 constant`);
  return `${value}u`;
}

/** An f32 literal that round-trips. @throws TypeError when the value is not finite. */
export function f32(value: number): string {
  if (!Number.isFinite(value)) throw new TypeError(`internal: ${value} is not an f32 constant`);
  const text = String(Math.fround(value));
  return /[.e]/.test(text) ? `${text}f` : `${text}.0f`;
}

/** The integers 0..n-1: the loop of every unrolled shader. */
export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/**
 * Compiler messages. The cause shows each above a numbered excerpt of the expanded source, five lines either side of it.
 */
export function compileFailure(label: string, source: string, messages: readonly GPUCompilationMessage[]): DeviceError {
  const lines = source.split("\n");
  const errors = messages
    .filter((m) => m.type === "error")
    .map((m) => {
      const from = Math.max(0, m.lineNum - 6);
      const excerpt = lines.slice(from, m.lineNum + 5).map((text, i) => `${String(from + i + 1).padStart(4)} ${text}`);
      const sentence = `${m.lineNum}:${m.linePos} ${m.message}`;
      return { sentence, shown: `${sentence}\n${excerpt.join("\n")}` };
    });
  const problem = `internal: kernel ${label} does not compile: ${errors.map(({ sentence }) => sentence).join("; ")}`;
  const cause = new Error(errors.map(({ shown }) => shown).join("\n"));
  return new DeviceError("validation", problem, undefined, { cause });
}
