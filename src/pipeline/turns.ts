/** Calls on one pipeline run one after another, in the order in which they came, until it is disposed of. */
import type { Device } from "../runtime/device.ts";
import { UseAfterDisposeError } from "../runtime/errors.ts";
import { checkOptions } from "../runtime/options.ts";
import { signalNames } from "./options.ts";

/** Settles with the promise, or rejects as soon as the signal aborts. */
function abortable<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

export class Turns {
  #last: Promise<unknown> = Promise.resolve();
  readonly #closed = new AbortController();

  /** @param what is disposed of in the end, for errors */
  constructor(
    private readonly what: string,
    private readonly device: Pick<Device, "check" | "explain">,
  ) {}

  /** Aborts when all is disposed of. */
  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  /** @returns whether this was the first time: nothing is done from now on */
  close(): boolean {
    const first = !this.closed.aborted;
    this.#closed.abort(new UseAfterDisposeError(this.what));
    return first;
  }

  /** @throws UseAfterDisposeError */
  checkOpen(): void {
    if (this.closed.aborted) throw new UseAfterDisposeError(this.what);
  }

  /** What work in flight asks before each submission; asked once here. */
  checker(signal?: AbortSignal): () => void {
    checkOptions("signal", { signal }, signalNames);
    const check = () => {
      this.checkOpen();
      signal?.throwIfAborted();
      this.device.check();
    };
    check();
    return check;
  }

  /**
   * Waits until everybody who came earlier has ended, or until the signal aborts.
   * @param check throws when there is nothing to be done any more
   * @returns ends this turn
   */
  async next(check: () => void, signal?: AbortSignal): Promise<() => void> {
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const earlier = this.#last;
    this.#last = earlier.then(() => ended);
    try {
      await abortable(earlier, signal);
      check();
      return end;
    } catch (error) {
      end();
      throw error;
    }
  }

  /** What ends work early: once all is disposed of or the device is lost, that is it, whatever fails because of it. */
  async reason(error: unknown, signal?: AbortSignal): Promise<unknown> {
    this.checkOpen();
    return signal?.aborted && error === signal.reason ? error : this.device.explain(error);
  }

  /** Work in its turn. */
  async take<T>(work: () => Promise<T>, check: () => void, signal?: AbortSignal): Promise<T> {
    const end = await this.next(check, signal);
    try {
      return await work();
    } catch (error) {
      throw await this.reason(error, signal);
    } finally {
      end();
    }
  }
}
