/** `--precision`: which kernels it leaves out, how much that changes, and where it is written down. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { openSafetensorsFile } from "../../src/node/folder.ts";
import { ddim, scratchFolder } from "../support/cli.ts";

const scratch = scratchFolder();
const MODEL = "crawl-tiles-32";

async function kernels(...args: string[]): Promise<string[]> {
  const { code, stdout } = await ddim(["inspect", MODEL, "--json", ...args]);
  expect(code).toBe(0);
  return JSON.parse(stdout).kernels.map(({ kernel }: { kernel: string }) => kernel);
}

async function sample(precision: string) {
  const file = join(scratch, `${precision}.safetensors`);
  const args = ["-m", MODEL, "-S", "2", "--seed", "1", "-q", "-o", file, "--precision", precision];
  expect((await ddim(["sample", ...args])).code).toBe(0);
  const { read, metadata } = await openSafetensorsFile(file).then((it) => ({
    read: it.read("images"),
    metadata: it.metadata,
  }));
  return { values: await read, parameters: JSON.parse(metadata["ddim-webgpu"] as string) };
}

test("high leaves Winograd's method out of every dispatch", async () => {
  expect(await kernels()).toContain("winogradProduct");
  const high = await kernels("--precision", "high");
  expect(high).toContain("conv2d");
  expect(high.filter((kernel) => kernel.startsWith("winograd"))).toEqual([]);
});

test("the image changes in its last digits, and says how it was made", async () => {
  const [fast, high] = [await sample("fast"), await sample("high")];
  const worst = Math.max(...high.values.map((v, i) => Math.abs(v - (fast.values[i] as number))));
  expect(worst).toBeGreaterThan(0);
  expect(worst).toBeLessThan(1e-3);
  expect(high.parameters.precision).toBe("high");
  expect(high.parameters.command).toContain(" --precision high ");
  expect(fast.parameters.command).not.toContain("--precision");
  expect(high.parameters.variants).not.toBe(fast.parameters.variants);
});

test("no other level is known", async () => {
  const { code, stderr, devices } = await ddim(["sample", "--precision", "medium"]);
  expect({ code, devices }).toEqual({ code: 2, devices: 0 });
  expect(stderr).toContain("--precision");
});
