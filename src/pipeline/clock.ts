/** Where the time of a run goes. */
import { IN_FLIGHT } from "../runtime/pacer.ts";

export class Clock {
  readonly #began = performance.now();
  #steps = 0;
  /** Milliseconds that batches took to be made, and their steps; when the first step of this batch was done. */
  #compile = 0;
  #looped = 0;
  #since: number | undefined;

  /** Milliseconds since the run began. */
  get total(): number {
    return performance.now() - this.#began;
  }

  get compile(): number {
    return this.#compile;
  }

  /** Milliseconds of the steps of all batches that are done. */
  get looped(): number {
    return this.#looped;
  }

  /** A step is done. @param asked when it was asked for: before the first one, the batch was made */
  step(asked: number): void {
    if (this.#since !== undefined) return;
    this.#since = performance.now();
    this.#compile += this.#since - asked;
  }

  /** All steps of a batch are done, or it begins again. */
  endBatch(): void {
    this.#looped += performance.now() - (this.#since ?? performance.now());
    this.#since = undefined;
  }

  /** Milliseconds that so many further steps will take at the pace so far, after another one. */
  msLeft(ahead: number): number {
    this.#steps++;
    const spent = this.#looped + performance.now() - (this.#since as number);
    // The last submissions are still under way.
    return (spent / Math.max(1, this.#steps - IN_FLIGHT)) * ahead;
  }
}
