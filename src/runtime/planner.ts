/**
 * Memory: values that are never needed at once share bytes. They lie at offsets of a few arenas; each arena is a GPU
 * object, because WebGPU forbids reading and writing one object in the same dispatch, at whatever offsets, and because
 * a texture has one format. Values are placed largest first, each where the arenas grow least; several orders that
 * differ a little from that are tried, always the same ones, and the smallest plan is taken.
 */
import { DeviceError } from "./errors.ts";
import type { KernelCall } from "./kernel.ts";
import { OVERFLOW } from "./overflow.ts";
import { byteSize, type DType, type Storage, TEXTURE_WIDTH, unitBytes, type Value } from "./values.ts";

export interface Arena {
  readonly storage: Storage;
  /** Only textures distinguish it: their format fixes it. */
  readonly dtype: DType;
  readonly bytes: number;
}

export interface Place {
  /** Index into {@link MemoryPlan.arenas}. */
  readonly arena: number;
  /** Byte of the arena where the value begins: a multiple of 256, in textures the beginning of a line. */
  readonly offset: number;
}

export interface MemoryPlan {
  readonly arenas: readonly Arena[];
  readonly places: ReadonlyMap<Value, Place>;
  /** Bytes of all arenas. */
  readonly bytes: number;
  /** Bytes alive at once at the worst moment, for each kind of object its own: no plan can need less. */
  readonly lowerBound: number;
}

interface Life {
  readonly value: Value;
  readonly bytes: number;
  readonly from: number;
  to: number;
  /** Values that some dispatch binds together with this one, where either is written. */
  readonly apart: Set<Value>;
}

interface Growing {
  readonly kind: string;
  bytes: number;
  readonly values: Set<Value>;
  /** By offset. */
  readonly content: { readonly life: Life; readonly offset: number }[];
}

/** WebGPU's default `minStorageBufferOffsetAlignment`. */
const ALIGN = 256;
/** Orders tried for a network of a few hundred values; fewer for larger ones, whose plans take longer. */
const TRIES = 64;
const TRIED_VALUES = 64 * 250;

/** WebGPU's default limits of an object's size. A value beyond them has an arena of its own. */
const capacity = ({ storage, dtype }: Value): number =>
  storage === "buffer" ? 2 ** 28 : TEXTURE_WIDTH * 8192 * unitBytes(dtype);

/** Which values one object can hold. */
const kindOf = ({ storage, dtype }: Value): string => (storage === "buffer" ? storage : `${storage} ${dtype}`);

function lifetimes(calls: readonly KernelCall[], external: ReadonlySet<Value>, batch: number): Life[] {
  const lives = new Map<Value, Life>();
  calls.forEach((call, at) => {
    for (const { value, access, tensor } of call.bound) {
      if (external.has(value) || value === OVERFLOW) continue;
      const life = lives.get(value);
      if (life) life.to = at;
      else if (access !== "out")
        throw new TypeError(
          `internal: ${call.kernel}(${call.label}) reads ${tensor} "${value.name}" before it is written`,
        );
      else {
        const bytes = Math.ceil(byteSize(value, batch) / ALIGN) * ALIGN;
        lives.set(value, { value, bytes, from: at, to: at, apart: new Set() });
      }
    }
    for (const { value: written } of call.bound.filter(({ access }) => access !== "in"))
      for (const { value } of call.bound) {
        if (value === written) continue;
        lives.get(written)?.apart.add(value);
        lives.get(value)?.apart.add(written);
      }
  });
  return [...lives.values()];
}

function lowerBound(lives: readonly Life[], calls: number): number {
  const alive = new Map<string, Float64Array>();
  for (const { value, from, to, bytes } of lives) {
    const kind = kindOf(value);
    const sums = alive.get(kind) ?? new Float64Array(calls);
    alive.set(kind, sums);
    for (let at = from; at <= to; at++) sums[at] = (sums[at] as number) + bytes;
  }
  return [...alive.values()].reduce((sum, sums) => sum + sums.reduce((a, b) => Math.max(a, b), 0), 0);
}

/** Offsets at which an arena has room for a life, from its beginning and between what lives at the same time. */
function* gaps({ content }: Growing, life: Life): Generator<{ offset: number; end: number }> {
  let offset = 0;
  for (const { life: other, offset: at } of content) {
    if (other.to < life.from || life.to < other.from) continue;
    if (at - offset >= life.bytes) yield { offset, end: at };
    offset = Math.max(offset, at + other.bytes);
  }
  yield { offset, end: Number.POSITIVE_INFINITY };
}

/** Where an arena grows least for one more life, and then where the gap is smallest. */
function bestPlace(arenas: readonly Growing[], life: Life) {
  const kind = kindOf(life.value);
  let best: { arena: Growing; offset: number; growth: number; rest: number } | undefined;
  for (const arena of arenas) {
    if (arena.kind !== kind) continue;
    if ([...life.apart].some((value) => arena.values.has(value))) continue;
    for (const { offset, end } of gaps(arena, life)) {
      const growth = Math.max(0, offset + life.bytes - arena.bytes);
      const rest = Math.min(end, Math.max(arena.bytes, offset + life.bytes)) - offset - life.bytes;
      if (growth > 0 && arena.bytes + growth > capacity(life.value)) continue;
      if (!best || growth < best.growth || (growth === best.growth && rest < best.rest))
        best = { arena, offset, growth, rest };
    }
  }
  return best && best.growth < life.bytes ? best : undefined;
}

/** Places lives in the given order; undefined as soon as the arenas need `most` bytes or more. */
function place(lives: readonly Life[], most: number): Growing[] | undefined {
  const arenas: Growing[] = [];
  let bytes = 0;
  for (const life of lives) {
    const found = bestPlace(arenas, life);
    const arena = found?.arena ?? { kind: kindOf(life.value), bytes: 0, values: new Set(), content: [] };
    if (!found) arenas.push(arena);
    const offset = found?.offset ?? 0;
    bytes -= arena.bytes;
    arena.bytes = Math.max(arena.bytes, offset + life.bytes);
    bytes += arena.bytes;
    if (bytes >= most) return undefined;
    arena.values.add(life.value);
    const after = arena.content.findIndex((other) => other.offset > offset);
    arena.content.splice(after < 0 ? arena.content.length : after, 0, { life, offset });
  }
  return arenas;
}

/** Lives by size; in tries after the first, by sizes that are off by up to a quarter, in half of them also by duration. */
function order(lives: readonly Life[], attempt: number): Life[] {
  let state = attempt;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  const weights = new Map(
    lives.map((life) => {
      const duration = attempt % 2 ? Math.sqrt(life.to - life.from + 1) : 1;
      return [life, attempt === 0 ? life.bytes : life.bytes * duration * (1 + 0.5 * random())];
    }),
  );
  return [...lives].sort((a, b) => (weights.get(b) as number) - (weights.get(a) as number) || a.from - b.from);
}

/**
 * Plans the storage of every value that the calls produce and that the caller does not bring.
 * @param external weights, inputs, outputs and other values bound from outside
 */
export function planMemory(calls: readonly KernelCall[], external: ReadonlySet<Value>, batch: number): MemoryPlan {
  const lives = lifetimes(calls, external, batch);
  const least = lowerBound(lives, calls.length);
  if (!Number.isSafeInteger(least))
    throw new DeviceError("out-of-memory", "the values of this size take more than 2^53 bytes");
  const tries = Math.min(TRIES, Math.max(4, Math.floor(TRIED_VALUES / (lives.length + 1))));
  let arenas = place(order(lives, 0), Number.POSITIVE_INFINITY) as Growing[];
  const total = () => arenas.reduce((sum, arena) => sum + arena.bytes, 0);
  for (let attempt = 1; attempt < tries && total() > least; attempt++)
    arenas = place(order(lives, attempt), total()) ?? arenas;
  const places = arenas.flatMap(({ content }, arena) =>
    content.map(({ life, offset }) => [life.value, { arena, offset }] as const),
  );
  return {
    arenas: arenas.map(({ bytes, content }) => {
      const { storage, dtype } = (content[0] as { life: Life }).life.value;
      return { storage, dtype, bytes };
    }),
    places: new Map(places),
    bytes: total(),
    lowerBound: least,
  };
}
