/** Waiting patiently: the answer, the failure, and how often the event loop turns meanwhile. */
import { setImmediate } from "node:timers";
import { afterEach, expect, it, vi } from "vitest";
import { patiently } from "../../src/runtime/software/patience.ts";

const after = <T>(ms: number, value: T) => new Promise<T>((resolve) => setTimeout(() => resolve(value), ms));

/** Turns of an event loop that is kept busy as Dawn does it, while `waiting` is pending. */
async function turns(waiting: Promise<unknown>): Promise<number> {
  let count = 0;
  let open = true;
  const turn = () => {
    count++;
    if (open) setImmediate(turn);
  };
  setImmediate(turn);
  await waiting;
  open = false;
  return count;
}

afterEach(() => {
  vi.unstubAllGlobals();
});

it("gives the promise's value, at once when it is there", async () => {
  expect(await patiently(after(5, 7))).toBe(7);
  expect(await patiently(Promise.resolve("done"))).toBe("done");
});

it("throws what the promise throws", async () => {
  await expect(patiently(after(5, 0).then(() => Promise.reject(new Error("lost"))))).rejects.toThrow("lost");
});

it("sleeps between an event loop's turns", async () => {
  // Naps grow to 1 ms; without them there are tens of thousands.
  expect(await turns(patiently(after(100, 0)))).toBeLessThan(300);
});

it("only waits where threads must not sleep", async () => {
  vi.stubGlobal("window", {});
  expect(await turns(patiently(after(100, 0)))).toBeGreaterThan(2000);
});

it("takes no polyfill in a worker for Node, with or without shared memory", async () => {
  const naps = vi.spyOn(Atomics, "wait");
  await patiently(after(20, 0));
  expect(naps).toHaveBeenCalled();
  naps.mockClear();
  vi.stubGlobal("WorkerGlobalScope", class {});
  expect(await patiently(after(20, 7))).toBe(7);
  expect(naps).not.toHaveBeenCalled();
  naps.mockRestore();
});

it("only waits where memory cannot be shared", async () => {
  vi.stubGlobal("SharedArrayBuffer", undefined);
  expect(await patiently(after(5, 7))).toBe(7);
});
