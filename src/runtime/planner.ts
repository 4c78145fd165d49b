/**
 * Memory: values whose lifetimes do not overlap share a slot. Slots are separate GPU objects, because WebGPU forbids
 * binding one buffer as read-only and read-write storage in the same dispatch, at whatever offsets. Largest values
 * first ("greedy by size"), each into the first slot that is free for its whole life.
 */
import type { KernelCall } from "./kernel.ts";
import { byteSize, type DType, type Storage, type Value } from "./values.ts";

export interface Slot {
  readonly storage: Storage;
  /** Only textures distinguish it: their format fixes it. */
  readonly dtype: DType;
  readonly bytes: number;
  readonly values: readonly Value[];
}

export interface MemoryPlan {
  readonly slots: readonly Slot[];
  /** Bytes of all slots. */
  readonly bytes: number;
  /** Bytes that are alive at once at the worst moment: no plan can need less. */
  readonly lowerBound: number;
}

interface Life {
  value: Value;
  bytes: number;
  from: number;
  to: number;
}

function lifetimes(calls: readonly KernelCall[], external: ReadonlySet<Value>, batch: number): Life[] {
  const lives = new Map<Value, Life>();
  calls.forEach((call, at) => {
    for (const { value, access, tensor } of call.bound) {
      if (external.has(value)) continue;
      const life = lives.get(value);
      if (life) life.to = at;
      else if (access !== "out")
        throw new TypeError(
          `internal: ${call.kernel}(${call.label}) reads ${tensor} "${value.name}" before it is written`,
        );
      else lives.set(value, { value, bytes: byteSize(value, batch), from: at, to: at });
    }
  });
  return [...lives.values()];
}

function lowerBound(lives: readonly Life[], calls: number): number {
  const alive = new Float64Array(calls);
  for (const { from, to, bytes } of lives)
    for (let at = from; at <= to; at++) alive[at] = (alive[at] as number) + bytes;
  return alive.reduce((a, b) => Math.max(a, b), 0);
}

/**
 * Plans the storage of every value that the calls produce and that the caller does not bring.
 * @param external weights, inputs, outputs and other values bound from outside
 */
export function planMemory(calls: readonly KernelCall[], external: ReadonlySet<Value>, batch: number): MemoryPlan {
  const lives = lifetimes(calls, external, batch);
  const slots: { storage: Storage; dtype: DType; bytes: number; lives: Life[] }[] = [];
  for (const life of [...lives].sort((a, b) => b.bytes - a.bytes || a.from - b.from)) {
    const { storage, dtype } = life.value;
    const slot = slots.find(
      (s) =>
        s.storage === storage &&
        (storage === "buffer" || s.dtype === dtype) &&
        s.lives.every((other) => other.to < life.from || life.to < other.from),
    );
    if (slot) slot.lives.push(life);
    else slots.push({ storage, dtype, bytes: life.bytes, lives: [life] });
  }
  return {
    slots: slots.map(({ lives: own, ...slot }) => ({ ...slot, values: own.map((l) => l.value) })),
    bytes: slots.reduce((sum, slot) => sum + slot.bytes, 0),
    lowerBound: lowerBound(lives, calls.length),
  };
}
