import { expect, test } from "vitest";
import { listAdapters } from "../../src/node/device.ts";
import { checkSupport } from "../../src/pipeline/support.ts";

test("an adapter is named with what it can do", async () => {
  const [adapter] = await listAdapters();
  const support = await checkSupport({ requestAdapter: async () => adapter } as unknown as GPU);
  expect(support).toMatchObject({ ok: true, adapter: expect.stringMatching(/\w/) });
  expect(support.ok && support.features).toEqual([...adapter!.features].sort());
});

test("no adapter, and no WebGPU at all, come with a remedy", async () => {
  expect(await checkSupport({ requestAdapter: async () => null } as unknown as GPU)).toEqual({
    ok: false,
    reason: "WebGPU offers no adapter",
    hint: expect.stringContaining("driver"),
  });
  // Node has no navigator.gpu.
  expect(await checkSupport()).toMatchObject({ ok: false, hint: expect.stringContaining("ddim-webgpu/node") });
});
