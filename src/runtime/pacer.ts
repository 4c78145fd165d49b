/**
 * Keeps the GPU fed and never far ahead: submits aim at {@link TARGET_MS} of work, at most two are in flight, and the
 * oldest one's end opens the door for the next. On a software adapter the GPU's threads need the processor that Dawn's
 * event loop would burn meanwhile in Node, so there the host waits patiently.
 */
import type { Device } from "./device.ts";
import type { Replay } from "./program.ts";
import { settled } from "./software/patience.ts";

/** GPU time that one submit aims at: below watchdogs, short enough for a responsive page. */
export const TARGET_MS = 100;
/** Most submissions under way at once. */
export const IN_FLIGHT = 2;

/** Operations per millisecond assumed before anything was measured. */
const FIRST_RATE = { software: 6e7, gpu: 1e9 };

/** Operations per millisecond, learned from completed work: what one run finds out, the next ones know. */
const rates = new WeakMap<Device, number>();

export class Pacer {
  readonly #pending: Promise<void>[] = [];
  /** When the last submission was done. */
  #since = 0;

  constructor(private readonly device: Device) {}

  get #rate(): number {
    return rates.get(this.device) ?? FIRST_RATE[this.device.capabilities.software ? "software" : "gpu"];
  }

  /**
   * Cuts a program, or several, into ranges of its parts that are expected to last at most {@link TARGET_MS} each: of
   * dispatches, and of the bands of one that would last longer.
   */
  *segments(program: Replay): Generator<{ from: number; to: number; flops: number }> {
    let from = 0;
    let flops = 0;
    for (let i = 0; i < program.parts.length; i++) {
      const own = program.parts[i]?.flops ?? 0;
      if (i > from && flops + own > this.#rate * TARGET_MS) {
        yield { from, to: i, flops };
        from = i;
        flops = 0;
      }
      flops += own;
    }
    yield { from, to: program.parts.length, flops };
  }

  /** Waits until one more submission is allowed. */
  async room(): Promise<void> {
    if (this.#pending.length < IN_FLIGHT) return;
    await settled(this.device.capabilities, this.#pending.shift() as Promise<void>);
  }

  /**
   * Submits commands; {@link room} comes before.
   * @param flops work in the commands, for the estimate of their duration
   */
  submit(commands: GPUCommandBuffer, flops: number): void {
    this.device.submit([commands]);
    this.#pending.push(this.#measured(flops));
  }

  /** Resolves when what was just submitted is done, and learns from its time. */
  async #measured(flops: number): Promise<void> {
    const submitted = performance.now();
    await this.device.gpu.queue.onSubmittedWorkDone();
    const now = performance.now();
    const ms = now - Math.max(submitted, this.#since);
    this.#since = now;
    if (ms > 1 && flops > 0) rates.set(this.device, flops / ms);
  }

  /** Waits for everything that was submitted. @throws DeviceError when the device failed meanwhile. */
  async drain(): Promise<void> {
    await settled(this.device.capabilities, Promise.all(this.#pending.splice(0)));
    this.device.check();
  }
}

/**
 * Runs a program to its end.
 * @param check throws when the work shall stop
 */
export async function runPaced(device: Device, program: Replay, check: () => void = () => {}): Promise<void> {
  const pacer = new Pacer(device);
  try {
    for (const { from, to, flops } of pacer.segments(program)) {
      const encoder = device.gpu.createCommandEncoder();
      program.encode(encoder, from, to);
      await pacer.room();
      check();
      pacer.submit(encoder.finish(), flops);
    }
    await pacer.drain();
  } finally {
    await pacer.drain().catch(() => {});
  }
}
