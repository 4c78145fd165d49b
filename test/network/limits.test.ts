/** What a device's bindings can hold is known before anything is loaded. */
import { afterEach, expect, test, vi } from "vitest";
import { maxBatch, tooLarge } from "../../src/network/limits.ts";
import { DeviceError } from "../../src/runtime/errors.ts";
import { makeValue } from "../../src/runtime/values.ts";
import { testDevice } from "../support/gpu.ts";
import { load, shippedPath } from "../support/models.ts";

afterEach(() => vi.restoreAllMocks());

const room = (bytes: number) => ({ maxUnits: (_: unknown, unit: number) => Math.floor(bytes / unit) });
const value = (shape: readonly number[], dtype: "f32" | "f16") =>
  makeValue({ name: `${shape} ${dtype}`, shape, batched: false, dtype, storage: "buffer" });

test("values larger than a binding are found, whatever their type", () => {
  const [a, b] = [value([16, 4], "f32"), value([16, 4], "f16")];
  expect(tooLarge(room(256), [a, b])).toEqual([]);
  expect(tooLarge(room(255), [a, b])).toEqual([a]);
  expect(tooLarge(room(127), [a, b])).toEqual([a, b]);
  expect(maxBatch(room(256), [])).toBe(Number.POSITIVE_INFINITY);
});

test("weights that no binding holds are refused by name, with nothing allocated", async () => {
  const device = await testDevice();
  const before = device.counters.liveBytes;
  const maxUnits = device.maxUnits.bind(device);
  vi.spyOn(device, "maxUnits").mockImplementation((storage, unit) => Math.min(maxUnits(storage, unit), 2 ** 16 / unit));
  const failure = await load(shippedPath("pixel-avatars-16")).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(DeviceError);
  expect(failure).toMatchObject({ reason: "out-of-memory" });
  expect((failure as Error).message).toMatch(
    /the weights \S+ take \d+ MiB, and \d+ others: more than one binding of .+ can hold/,
  );
  expect(device.counters.liveBytes).toBe(before);
});
