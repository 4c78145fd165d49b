/** The cache of pipelines on a real device: one compilation per source, and errors that show the source. */
import { afterAll, describe, expect, it } from "vitest";
import { openNodeDevice } from "../../src/node/device.ts";
import { PipelineCache } from "../../src/runtime/pipelines.ts";

const source = (value: number) => `
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1) fn main() { y[0] = ${value}.0; }`;
const kinds = ["storage"] as const;
// With validation whatever the rest of the tests runs with: a wrong shader without it ends the process.
const device = await openNodeDevice({ fast: false });
afterAll(() => device.dispose());
const cache = () => new PipelineCache(device.gpu);

describe("PipelineCache", () => {
  it("compiles a source once, also when it is asked for twice at the same time", async () => {
    const pipelines = cache();
    const [a, b] = await Promise.all([pipelines.get("a", source(1), kinds), pipelines.get("b", source(1), kinds)]);
    expect(a).toBe(b);
    expect(await pipelines.get("c", source(1), kinds)).toBe(a);
    expect(pipelines.size).toBe(1);
    expect(await pipelines.get("d", source(2), kinds)).not.toBe(a);
    expect(pipelines.size).toBe(2);
  });

  it("gives one layout per list of binding kinds", async () => {
    const pipelines = cache();
    const [first, again] = [["texture", "uniform"] as const, ["texture", "uniform"] as const];
    expect(pipelines.layout(first)).toBe(pipelines.layout(again));
    expect(pipelines.layout(first)).not.toBe(pipelines.layout(["uniform", "texture"]));
  });

  it("shows the compiler's message and the listing, and tries again afterwards", async () => {
    const pipelines = cache();
    const wrong = source(1).replace("y[0] =", "y[0] = nowhere +");
    const failed = pipelines.get("add_direct", wrong, kinds);
    await expect(failed).rejects.toMatchObject({ name: "DeviceError", reason: "validation" });
    const { message, cause } = (await failed.catch((e: Error) => e)) as Error;
    expect(message).toMatch(/^internal: kernel add_direct does not compile: 3:\d+ .*nowhere/);
    expect((cause as Error).message).toContain("   3 @compute @workgroup_size(1) fn main() { y[0] = nowhere + 1.0; }");
    expect(pipelines.size).toBe(0);
    await expect(pipelines.get("add_direct", wrong, kinds)).rejects.toThrow("does not compile");
  });

  it("names the kernel where the bindings do not fit the source", async () => {
    const pipelines = cache();
    await expect(pipelines.get("mismatch", source(1), ["uniform"])).rejects.toThrow(
      /^internal: kernel mismatch makes no pipeline: /,
    );
    await expect(pipelines.get("mismatch", source(1), [])).rejects.toThrow("makes no pipeline");
  });

  it("leaves no error behind that a later submit would meet", async () => {
    await device.pipelines.get("wrong", "not WGSL", kinds).catch(() => undefined);
    await device.gpu.queue.onSubmittedWorkDone();
    expect(() => device.check()).not.toThrow();
  });
});
