/**
 * Measures the methods of a choice against each other: the operation by itself on one image of noise, all methods
 * compiled and in memory at once, turn by turn, so that whatever else the machine does meets all of them.
 */
import { type Device, isShort } from "../runtime/device.ts";
import type { Target } from "../runtime/kernel.ts";
import type { GpuArray } from "../runtime/memory.ts";
import { Pacer } from "../runtime/pacer.ts";
import { Program } from "../runtime/program.ts";
import { TEXTURE_WIDTH, unitBytes, unitCount, type Value } from "../runtime/values.ts";
import { inputsOf, loadArrays } from "./arrays.ts";
import type { Choice } from "./methods.ts";
import { isPacked, type Weight } from "./weights.ts";

/** Milliseconds that a choice may take once everything is compiled. */
const BUDGET_MS = 800;
/** Milliseconds of one measurement: runs are repeated until then, so that waking up does not count. */
const MEASURE_MS = 20;
const LEAST_ROUNDS = 3;
/** A method that is this much slower in the best of a few runs is out. */
const HOPELESS = 4;
const FIRST_RUNS = 3;
/** How much quicker than usual another method has to be: less is noise. */
const MARGIN = 0.97;

/** Numbers in ±1 from a multiplicative generator; the same every time. */
function noise(count: number): Float32Array<ArrayBuffer> {
  const data = new Float32Array(count);
  for (let i = 0, state = 1; i < count; i++) {
    state = Math.imul(state, 1664525) + 1013904223;
    data[i] = state / 2 ** 31;
  }
  return data;
}

function* noiseFor(weights: readonly Weight[]): Generator<[string, Float32Array]> {
  for (const { name, shape } of weights.filter(isPacked).flatMap(({ params }) => params))
    yield [name, noise(shape.reduce((a, b) => a * b, 1))];
}

function fill(device: Device, value: Value, { object }: GpuArray): void {
  const units = unitCount(value, 1);
  const bytes = unitBytes(value.dtype);
  const numbers = noise(units * 4);
  // Halves from 0.5 to 1 of either sign, without a conversion.
  const data =
    bytes === 16 ? numbers : Uint16Array.from(numbers, (v) => (v < 0 ? 0xb800 : 0x3800) + Math.abs(v) * 1023);
  if (value.storage === "buffer") {
    device.gpu.queue.writeBuffer(object as GPUBuffer, 0, data);
    return;
  }
  const bytesPerRow = TEXTURE_WIDTH * bytes;
  const [lines, rest] = [Math.floor(units / TEXTURE_WIDTH), units % TEXTURE_WIDTH];
  const write = (line: number, size: readonly [number, number]) => {
    const destination = { texture: object as GPUTexture, origin: [0, line] };
    device.gpu.queue.writeTexture(destination, data, { offset: line * bytesPerRow, bytesPerRow }, size);
  };
  if (lines > 0) write(0, [TEXTURE_WIDTH, lines]);
  if (rest > 0) write(lines, [rest, 1]);
}

/** One method ready to run. */
class Candidate {
  /** Of its own, because it learns how long this method takes. */
  readonly #pacer: Pacer;

  private constructor(
    private readonly device: Device,
    readonly method: string,
    private readonly program: Program,
    private readonly owned: readonly GpuArray[],
  ) {
    this.#pacer = new Pacer(device);
  }

  static async create(device: Device, target: Target, choice: Choice, method: string): Promise<Candidate> {
    const lowered = choice.lower(method);
    const { calls, weights } = lowered;
    const external = await loadArrays(device, target, weights, noiseFor(weights));
    const owned = [...external.values()];
    try {
      const ends = inputsOf(lowered);
      const program = await Program.create(device, { label: `tuning ${method}`, calls, batch: 1, external, ends });
      for (const value of ends) fill(device, value, program.storage.get(value) as GpuArray);
      return new Candidate(device, method, program, owned);
    } catch (error) {
      for (const { object } of owned) device.release(object);
      throw error;
    }
  }

  /** Milliseconds per run, of so many in one submission. */
  async time(repeats: number): Promise<number> {
    const encoder = this.device.gpu.createCommandEncoder();
    for (let i = 0; i < repeats; i++) this.program.encode(encoder);
    const commands = encoder.finish();
    const start = performance.now();
    this.#pacer.submit(commands, repeats * this.program.cost.flops);
    await this.#pacer.drain();
    return (performance.now() - start) / repeats;
  }

  dispose(): void {
    this.program.dispose();
    for (const { object } of this.owned) this.device.release(object);
  }
}

/** The candidates that fit in memory together. */
async function candidatesOf(device: Device, target: Target, choice: Choice): Promise<Candidate[]> {
  const made: Candidate[] = [];
  try {
    for (const method of choice.methods)
      await Candidate.create(device, target, choice, method).then(
        (candidate) => made.push(candidate),
        (error) => {
          if (!isShort(error)) throw error;
        },
      );
    return made;
  } catch (error) {
    for (const candidate of made) candidate.dispose();
    throw error;
  }
}

const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[list.length >> 1] as number;

/** The method with the least median, but the usual one where that is not clearly slower, in its median and at its best. */
export function quickest(usual: string, times: Readonly<Record<string, readonly number[]>>): string {
  const [first = usual] = Object.keys(times).sort((a, b) => median(times[a] ?? []) - median(times[b] ?? []));
  const own = times[usual];
  const list = times[first] ?? [];
  const clearly = !own || [median, (l: readonly number[]) => Math.min(...l)].every((of) => of(list) < of(own) * MARGIN);
  return clearly ? first : usual;
}

/** The quickest method of a choice, and the median milliseconds of one image by each that was measured. */
export interface Measured {
  readonly method: string;
  readonly ms: Readonly<Record<string, number>>;
}

/**
 * Takes a second or so, beside compiling; nothing stays allocated.
 * @param check throws when the work shall stop
 * @throws DeviceError; whatever `check` throws
 */
export async function measure(device: Device, target: Target, choice: Choice, check: () => void): Promise<Measured> {
  const candidates = await candidatesOf(device, target, choice);
  try {
    const first = new Map<Candidate, number>();
    for (const candidate of candidates) {
      check();
      for (let i = 0; i < FIRST_RUNS; i++)
        first.set(candidate, Math.min(first.get(candidate) ?? Number.POSITIVE_INFINITY, await candidate.time(1)));
    }
    const best = Math.min(...first.values());
    const racing = candidates.filter((candidate) => (first.get(candidate) as number) <= HOPELESS * best);
    const repeats = Math.max(1, Math.ceil(MEASURE_MS / best));
    const times = new Map(racing.map((candidate) => [candidate, [] as number[]]));
    const end = performance.now() + BUDGET_MS;
    for (let round = 0; round < LEAST_ROUNDS || performance.now() < end; round++)
      for (const [candidate, list] of times) {
        check();
        list.push(await candidate.time(repeats));
      }
    const lists = Object.fromEntries([...times].map(([{ method }, list]) => [method, list]));
    const ms = Object.fromEntries(Object.entries(lists).map(([method, list]) => [method, median(list)]));
    return { method: quickest(choice.usual, lists), ms };
  } finally {
    for (const candidate of candidates) candidate.dispose();
  }
}
