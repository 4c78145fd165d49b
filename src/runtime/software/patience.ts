/**
 * Waiting for the GPU without taking the processor from it. While a promise of Dawn's is pending in Node, its event loop
 * asks over and over again; a software adapter computes on the very same cores. Here the thread sleeps between questions.
 */

/** Milliseconds until the second question, and most between any two: other work of the event loop waits as long. */
const FIRST_NAP_MS = 0.05;
const LONGEST_NAP_MS = 1;

/**
 * Node's `setImmediate`, where threads may also sleep: not in a page, and not in its workers, where it can only be a
 * polyfill and where memory is shared under cross-origin isolation alone.
 */
function immediates(): ((callback: () => void) => void) | undefined {
  const { setImmediate, window, WorkerGlobalScope } = globalThis as {
    setImmediate?: (callback: () => void) => void;
    window?: unknown;
    WorkerGlobalScope?: unknown;
  };
  const mayNap = window === undefined && WorkerGlobalScope === undefined && typeof SharedArrayBuffer === "function";
  return mayNap ? setImmediate : undefined;
}

/** A GPU's promise, waited for in the way that suits the device. */
export const settled = <T>({ software }: { software: boolean }, promise: Promise<T>): Promise<T> =>
  software ? patiently(promise) : promise;

/** What a promise of a GPU settles to. */
export async function patiently<T>(promise: Promise<T>): Promise<T> {
  const later = immediates();
  if (!later) return promise;
  let pending = true;
  const settle = () => {
    pending = false;
  };
  promise.then(settle, settle);
  const nap = new Int32Array(new SharedArrayBuffer(4));
  for (let ms = FIRST_NAP_MS; pending; ms = Math.min(ms * 1.1, LONGEST_NAP_MS)) {
    await new Promise<void>(later);
    if (pending) Atomics.wait(nap, 0, 0, ms);
  }
  return promise;
}
