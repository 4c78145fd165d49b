import { expect, test, vi } from "vitest";
import { ddim } from "../support/cli.ts";

test("doctor lists adapters, the chosen kernels and the checks, and all of them pass", async () => {
  const { code, stdout, stderr } = await ddim(["doctor", "--json"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const report = JSON.parse(stdout);
  expect(report).toMatchObject({ ok: true, device: report.adapters[0].name });
  expect(report.adapters[0]).toMatchObject({
    features: expect.any(Array),
    limits: { maxStorageBufferBindingSize: expect.any(Number) },
  });
  expect(report.capabilities).toMatchObject({ software: expect.any(Boolean), subgroup_size: expect.any(Number) });
  expect(report.kernels.map((k: { kernel: string }) => k.kernel)).toContain("conv2d");
  expect(report.checks.length).toBeGreaterThan(5);
  expect(report.checks.at(-2)).toMatchObject({ name: "pixel-avatars-16, seed to image", ok: true });
  const drift = report.checks.at(-1);
  expect(drift).toMatchObject({ name: "pixel-avatars-16, f16 against f32", ok: true });
  const [, rms, most, psnr] = /by (\S+) rms .*, (\S+) at most, PSNR (\d+) dB/.exec(drift.detail)?.map(Number) ?? [];
  expect(rms).toBeGreaterThan(0);
  expect(most).toBeGreaterThan(rms as number);
  expect(psnr).toBeCloseTo(20 * Math.log10(2 / (rms as number)), -1);
  expect(report.checks.every((check: { ok: boolean }) => check.ok)).toBe(true);
});

test("a check that fails is told, and the exit code is 1", async () => {
  vi.resetModules();
  vi.doMock("../../src/pipeline/selfTest.ts", () => ({
    async *selfTest() {
      yield { name: "conv2d", ok: false, detail: "NMSE 1" };
    },
  }));
  const fresh = await import("../support/cli.ts");
  const { code, stdout, stderr } = await fresh.ddim(["doctor", "-q"]);
  expect(code).toBe(1);
  expect(stdout).toMatch(/^adapter 0: /m);
  expect(stdout).toContain("FAILED conv2d: NMSE 1\n2 of 3 checks passed\n");
  expect(stderr).toMatch(/^ddim: 1 of 3 checks failed on .*\n$/);
});
