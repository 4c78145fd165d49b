/** Reads a configuration key by key; a key that nobody asked for is refused at the end. */
import { ConfigError } from "../runtime/errors.ts";
import { listed, shown } from "../runtime/printable.ts";
import { IGNORE_UNKNOWN, type UnknownOptions } from "../weights/unknown.ts";
import { type Family, isHarmless } from "./harmlessKeys.ts";

export interface ImageSize {
  height: number;
  width: number;
}

/** Beyond what any network has, and well below what would take a machine's memory or time before anything is refused. */
export const MOST = {
  /** Training timesteps. */
  timesteps: 100_000,
  /** Channels of a layer, and whatever else is counted. */
  channels: 100_000,
  /** Layers of a block. */
  layers: 1000,
  levels: 16,
  /** Resnets and transformer blocks of a whole network, which takes time with their square to be put together. */
  blocks: 2500,
} as const;

/**
 * What no single key tells.
 * @param sizes so many blocks, and the channels of the first level at the size in the configuration, if it has one
 * @param keys that a configuration of this family has for layers and size
 * @throws ConfigError
 */
export function checkWhole(
  file: string,
  { blocks, channels, size }: { blocks: number; channels: number; size: ImageSize | null },
  keys: { readonly layers: string; readonly size: string },
): void {
  if (blocks > MOST.blocks)
    throw new ConfigError(file, keys.layers, `${blocks} blocks in all are beyond the limit of ${MOST.blocks}`);
  if (size && !Number.isSafeInteger(4 * channels * size.height * size.width))
    throw new ConfigError(file, keys.size, `${size.height} x ${size.width} pixels take more than 2^53 bytes`);
}

export type { UnknownOptions };

const isCount = (v: unknown, least: number): v is number => Number.isInteger(v) && (v as number) >= least;

/** Reads keys with checks; remembers which were asked for, so that the rest can be refused. */
export class ConfigReader {
  readonly #known = new Set<string>();

  constructor(
    private readonly json: Readonly<Record<string, unknown>>,
    readonly file: string,
    readonly family: Family,
    readonly options: UnknownOptions = {},
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
    if (!fits(value)) this.fail(key, `expected ${expected}, got ${shown(value)}`);
    return value as T;
  }

  flag = (key: string, fallback: boolean) => this.#typed(key, fallback, (v) => typeof v === "boolean", "true or false");

  /** Refuses numbers beyond a limit. */
  within<T extends number | null>(key: string, value: T, most: number): T {
    if (value !== null && value > most) this.fail(key, `${value} is beyond the limit of ${most}`);
    return value;
  }

  count(key: string, fallback: number, least = 1, most: number = MOST.channels): number {
    const value = this.#typed(key, fallback, (v) => isCount(v, least), `a whole number from ${least}`);
    return this.within(key, value, most);
  }

  countOrNull(key: string, fallback: number | null, most: number = MOST.channels): number | null {
    const fits = (v: unknown) => v === null || isCount(v, 1);
    return this.within(key, this.#typed<number | null>(key, fallback, fits, "null or a whole number from 1"), most);
  }

  /** A list of counts, one for each level. */
  levels(key: string, fallback: readonly number[], expected = "whole numbers from 1"): readonly number[] {
    const list = this.list<number>(key, fallback, (v) => isCount(v, 1), expected);
    if (list.length > MOST.levels) this.fail(key, `${list.length} levels are beyond the limit of ${MOST.levels}`);
    for (const value of list) this.within(key, value, MOST.channels);
    return list;
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

  /** @throws ConfigError that names all keys nobody knows; where they are to be ignored, warns of each */
  refuseRest(): void {
    const isUnknown = (key: string) => !this.#known.has(key) && !isHarmless(this.family, key);
    const rest = Object.keys(this.json).filter(isUnknown);
    if (rest.length === 0) return;
    const [names, values] = [listed(rest), listed(rest.map((key) => shown(this.json[key])))];
    const risk =
      this.family === "scheduler"
        ? `, it may change the result, here ${values}`
        : `, here ${values}: it may change what the network computes`;
    if (this.options.unknown !== "warn") this.fail(names, `unknown key${risk}; ${IGNORE_UNKNOWN} passes over it`);
    this.options.warn?.(`${this.file}: ${names}: unknown key, passed over, here ${values}`);
  }
}

/** diffusers' sample_size: one side, or [height, width]. */
export function imageSize(r: ConfigReader): ImageSize | null {
  const value = r.get("sample_size");
  if (value === undefined || value === null) return null;
  const sides = Array.isArray(value) ? value : [value, value];
  if (sides.length !== 2 || !sides.every((v) => Number.isInteger(v) && v >= 1))
    r.fail("sample_size", `expected a whole number or [height, width], got ${shown(value)}`);
  return { height: sides[0], width: sides[1] };
}
