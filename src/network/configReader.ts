/** Reads a network's configuration key by key; a key that nobody asked for is refused at the end. */
import { ConfigError } from "../runtime/errors.ts";
import { listed } from "../runtime/printable.ts";

export interface ImageSize {
  height: number;
  width: number;
}

/** Reads keys with checks; remembers which were asked for, so that the rest can be refused. */
export class ConfigReader {
  readonly #known = new Set<string>();

  constructor(
    private readonly json: Readonly<Record<string, unknown>>,
    readonly file: string,
  ) {}

  fail(key: string, problem: string): never {
    throw new ConfigError(this.file, key, problem);
  }

  get(key: string): unknown {
    this.#known.add(key);
    return this.json[key];
  }

  #typed<T>(key: string, fallback: T, fits: (v: unknown) => boolean, expected: string): T {
    const value = this.get(key);
    if (value === undefined) return fallback;
    if (!fits(value)) this.fail(key, `expected ${expected}, got ${JSON.stringify(value)}`);
    return value as T;
  }

  flag = (key: string, fallback: boolean) => this.#typed(key, fallback, (v) => typeof v === "boolean", "true or false");

  count(key: string, fallback: number, least = 1): number {
    return this.#typed(
      key,
      fallback,
      (v) => Number.isInteger(v) && (v as number) >= least,
      `a whole number from ${least}`,
    );
  }

  countOrNull(key: string, fallback: number | null): number | null {
    const fits = (v: unknown) => v === null || (Number.isInteger(v) && (v as number) >= 1);
    return this.#typed<number | null>(key, fallback, fits, "null or a whole number from 1");
  }

  positive(key: string, fallback: number): number {
    const fits = (v: unknown) => typeof v === "number" && Number.isFinite(v) && v > 0;
    return this.#typed(key, fallback, fits, "a number above 0");
  }

  choice<T extends string>(key: string, fallback: T, values: readonly T[]): T {
    return this.#typed(key, fallback, (v) => values.includes(v as T), `one of ${values.join(", ")}`);
  }

  list<T>(key: string, fallback: readonly T[], fits: (v: unknown) => boolean, expected: string): readonly T[] {
    return this.#typed(
      key,
      fallback,
      (v) => Array.isArray(v) && v.length > 0 && v.every(fits),
      `a list of ${expected}`,
    );
  }

  refuseRest(): void {
    const rest = Object.keys(this.json).filter((key) => !key.startsWith("_") && !this.#known.has(key));
    if (rest.length === 0) return;
    const values = listed(rest.map((key) => JSON.stringify(this.json[key])));
    this.fail(listed(rest), `unknown key, here ${values}: it may change what the network computes`);
  }
}

/** diffusers' sample_size: one side, or [height, width]. */
export function imageSize(r: ConfigReader): ImageSize | null {
  const value = r.get("sample_size");
  if (value === undefined || value === null) return null;
  const sides = Array.isArray(value) ? value : [value, value];
  if (sides.length !== 2 || !sides.every((v) => Number.isInteger(v) && v >= 1))
    r.fail("sample_size", `expected a whole number or [height, width], got ${JSON.stringify(value)}`);
  return { height: sides[0], width: sides[1] };
}
