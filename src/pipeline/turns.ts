/** Calls on one pipeline run one after another, in the order in which they came. */

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
}
