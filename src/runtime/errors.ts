/**
 * Every error this package throws on purpose. Each class carries its data as fields, so a program can react without
 * parsing a sentence, and its message is one sentence that names the file, tensor, kernel or flag. Messages that begin
 * with `internal:` are our own bugs.
 */

import { listed, message, textOf } from "./printable.ts";

/**
 * Base class: `instanceof DdimError` separates our refusals from surprises. Its message is one printable line, whatever the
 * texts that it quotes, and at most some 2 000 characters long; the fields of subclasses hold them as they are.
 */
export class DdimError extends Error {
  override name = "DdimError";
  constructor(text: string, options?: ErrorOptions) {
    super(message(text), options);
  }
}

/** A caller's argument (an option, a flag's value) cannot be right. The command line exits 2 for it. */
export class UsageError extends DdimError {
  override name = "UsageError";
  constructor(
    readonly option: string,
    problem: string,
  ) {
    super(problem);
  }
}

/** A tensor does not have the shape that a kernel, or a caller's contract, asks for. */
export class ShapeError extends DdimError {
  override name = "ShapeError";
  constructor(
    readonly where: string,
    readonly tensor: string,
    readonly expected: string,
    readonly actual: readonly number[],
  ) {
    super(`${where}: ${tensor} has shape [${actual.join(", ")}], expected ${expected}`);
  }
}

/** A file is not what its name says, or is cut off, or cannot be read or written. */
export class FileError extends DdimError {
  override name = "FileError";
  constructor(
    readonly file: string,
    readonly problem: string,
    options?: ErrorOptions,
  ) {
    super(`${textOf(file)}: ${problem}`, options);
  }
}

/** A model configuration holds a key or value that is missing, unknown or not supported. */
export class ConfigError extends DdimError {
  override name = "ConfigError";
  constructor(
    readonly file: string,
    readonly key: string,
    problem: string,
  ) {
    super(`${file}: ${key}: ${problem}`);
  }
}

/** A tensor of the wrong shape, as listed by {@link WeightError}. */
export interface MismatchedTensor {
  name: string;
  expected: readonly number[];
  actual: readonly number[];
}

/** How many tensors too many a message names. */
const UNEXPECTED = 3;

/** A checkpoint does not fit the network: every problem at once, in the checkpoint's own names. */
export class WeightError extends DdimError {
  override name = "WeightError";
  constructor(
    readonly file: string,
    readonly missing: readonly string[],
    readonly unexpected: readonly string[],
    readonly mismatched: readonly MismatchedTensor[],
    /** How the tensors' names were read, and why so. */
    readonly layout?: string,
    /** The way out, if there is one. */
    way?: string,
  ) {
    const parts: string[] = [];
    if (missing.length) parts.push(`missing ${listed(missing)}`);
    if (unexpected.length) parts.push(`unexpected ${listed(unexpected, UNEXPECTED)}`);
    const shapes = (m: MismatchedTensor) => `${m.name} [${m.actual.join(", ")}] (expected [${m.expected.join(", ")}])`;
    if (mismatched.length) parts.push(`wrong shape ${listed(mismatched.map(shapes))}`);
    const read = layout ? `, read in ${layout}` : "";
    super(`${file}: the tensors do not fit the configuration${read}: ${parts.join("; ")}${way ? `; ${way}` : ""}`);
  }
}

export type DeviceFailure = "unsupported" | "lost" | "out-of-memory" | "validation";

/** The GPU side failed: no adapter, a lost device, memory, or a kernel that does not compile. */
export class DeviceError extends DdimError {
  override name = "DeviceError";
  constructor(
    readonly reason: DeviceFailure,
    problem: string,
    /** What the user can do about it, if anything is known. */
    readonly hint?: string,
    options?: ErrorOptions,
  ) {
    super(hint ? `${problem} (${hint})` : problem, options);
  }
}

/** A number stopped being finite during sampling. */
export class NonFiniteError extends DdimError {
  override name = "NonFiniteError";
  /** Absent where it does not apply: outside a sampling run, or where the number belongs to no one image. */
  readonly step?: number;
  readonly t?: number;
  readonly image?: number;
  /** Where f16 could not hold it. */
  readonly layer?: string;
  constructor(problem: string, where: Partial<Pick<NonFiniteError, "step" | "t" | "image" | "layer">> = {}) {
    super(problem);
    Object.assign(this, where);
  }
}

/** An object was used after `dispose()`. */
export class UseAfterDisposeError extends DdimError {
  override name = "UseAfterDisposeError";
  constructor(readonly what: string) {
    super(`${what} was used after it was disposed`);
  }
}
