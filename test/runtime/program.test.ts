/** Programs: compiled once, replayed at any batch size, nothing allocated by a replay. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { Graph } from "../../src/kernels/graph.ts";
import { loadWeights, type ParamPiece } from "../../src/kernels/load.ts";
import { lowerGraph } from "../../src/kernels/lower.ts";
import type { Device } from "../../src/runtime/device.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { createValueArray, type GpuArray } from "../../src/runtime/memory.ts";
import { Program } from "../../src/runtime/program.ts";
import type { Value } from "../../src/runtime/values.ts";
import { tensorsOf } from "../reference/inputs.ts";
import { constTarget, readValue, targets, testDevice, uploadValue } from "../support/gpu.ts";

const make = tensorsOf("program");
const x = make([3, 6, 6, 8]);
const weight = make([8, 8, 3, 3], { scale: 0.1 });

async function* pieces(): AsyncGenerator<ParamPiece> {
  for (const [name, { data }] of Object.entries({ w: weight, gamma: make([8]), beta: make([8]) })) {
    const bytes = new Uint8Array(Float32Array.from(data).buffer);
    yield { name, dtype: "f32", offset: 0, total: bytes.length, bytes };
  }
}
const decode = ({ bytes }: ParamPiece) => new Float32Array(bytes.slice().buffer);

/** A small network with its weights; `create` makes a program of it. */
async function setUp(target: Target, device: Device) {
  const graph = new Graph("f32", target.storage);
  const input = graph.value("x", [6, 6, 8]);
  const param = (name: string, ...shape: number[]) => ({ name, shape });
  const init = { gamma: param("gamma", 8), beta: param("beta", 8), groups: 2, eps: 1e-5 };
  const h = graph.activation("act", graph.groupNorm("norm", input, init), "silu");
  const spec = { weight: param("w", 8, 8, 3, 3), segments: [8] };
  const y = graph.output(
    graph.add("sum", graph.conv2d("conv", h, [spec], { kernel: [3, 3], pad: [1, 1, 1, 1] }), input),
  );
  const { calls, weights } = lowerGraph(graph, target);
  const loaded = await loadWeights(device, target, weights, pieces(), decode);
  const frame = device.createBuffer({ size: 16, usage: GPUBufferUsage.UNIFORM });
  const create = async (batch: number) => {
    const arrays = new Map<Value, GpuArray>([
      [input, uploadValue(device, input, x.data.subarray(0, batch * 288), batch)],
      [y, createValueArray(device, y, batch)],
    ]);
    const external = new Map([...loaded, ...arrays]);
    const program = await Program.create(device, { label: "net", calls, batch, external, frame });
    const replay = () => {
      const encoder = device.gpu.createCommandEncoder();
      program.encode(encoder);
      device.submit([encoder.finish()]);
    };
    const result = () => readValue(device, y, arrays.get(y) as GpuArray, batch);
    const free = () => {
      program.dispose();
      for (const { object } of arrays.values()) device.release(object);
    };
    return { program, external, replay, result, free };
  };
  const free = () => {
    for (const { object } of loaded.values()) device.release(object);
    device.release(frame);
  };
  return { calls, frame, create, free };
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe.each([...(await targets()), { name: "shapes in the source", target: constTarget }])(
  "Program ($name)",
  ({ target }) => {
    it("compiles nothing for another batch size, and computes the same", async () => {
      const device = await testDevice();
      const net = await setUp(target, device);
      const one = await net.create(1);
      const compiled = device.pipelines.size;
      const three = await net.create(3);
      expect(device.pipelines.size).toBe(compiled);
      one.replay();
      three.replay();
      const [a, b] = [await one.result(), await three.result()];
      expect(a.data.some((v) => v !== 0)).toBe(true);
      expect([...b.data.subarray(0, a.data.length)]).toEqual([...a.data]);
      for (const { free } of [one, three, net]) free();
    });

    it("creates nothing while it is replayed", async () => {
      const device = await testDevice();
      const net = await setUp(target, device);
      const run = await net.create(2);
      run.replay();
      const first = await run.result();
      const { created, liveObjects, liveBytes } = device.counters;
      const spies = (["createBuffer", "createTexture", "createBindGroup", "createComputePipeline"] as const).map(
        (name) => vi.spyOn(device.gpu, name),
      );
      for (let i = 0; i < 20; i++) run.replay();
      for (const spy of spies) expect(spy).not.toHaveBeenCalled();
      expect(device.counters).toMatchObject({ created, liveObjects, liveBytes });
      vi.restoreAllMocks();
      expect((await run.result()).data).toEqual(first.data);
      run.free();
      net.free();
    });

    it("gives back what it planned, and leaves the caller's arrays", async () => {
      const device = await testDevice();
      const before = device.counters.liveBytes;
      const net = await setUp(target, device);
      const run = await net.create(2);
      const held = device.counters.liveBytes;
      expect(run.program.plan.bytes).toBeGreaterThan(0);
      run.program.dispose();
      const params = held - device.counters.liveBytes - run.program.plan.bytes;
      expect(params).toBeGreaterThan(0);
      expect(params).toBeLessThanOrEqual(256 * net.calls.length);
      run.program.dispose();
      expect((await run.result()).data).toHaveLength(2 * 288);
      run.free();
      net.free();
      expect(device.counters.liveBytes).toBe(before);
    });
  },
);

describe("Program", () => {
  const target = constTarget;

  it("can be replayed in parts", async () => {
    const device = await testDevice();
    const net = await setUp(target, device);
    const run = await net.create(1);
    run.replay();
    const whole = await run.result();
    const again = await net.create(1);
    for (let i = 0; i < net.calls.length; i++) {
      const encoder = device.gpu.createCommandEncoder();
      again.program.encode(encoder, i, i + 1);
      device.submit([encoder.finish()]);
    }
    expect((await again.result()).data).toEqual(whole.data);
    for (const { free } of [run, again, net]) free();
  });

  it("tells how compilation goes: once per distinct source, up to all of them", async () => {
    const device = await testDevice();
    const net = await setUp(target, device);
    const { external, free } = await net.create(1);
    const seen: [number, number][] = [];
    const onCompile = (done: number, of: number) => void seen.push([done, of]);
    const calls = [...net.calls, ...net.calls];
    const program = await Program.create(device, {
      label: "twice",
      calls,
      batch: 1,
      external,
      frame: net.frame,
      onCompile,
    });
    const distinct = new Set(calls.map((c) => c.source)).size;
    expect(seen).toEqual(Array.from({ length: distinct }, (_, i) => [i + 1, distinct]));
    expect(program.dispatches).toHaveLength(calls.length);
    expect(program.cost.flops).toBe(calls.reduce((sum, c) => sum + c.cost(1).flops, 0));
    program.dispose();
    free();
    net.free();
  });

  it("may be empty", async () => {
    const device = await testDevice();
    const program = await Program.create(device, { label: "empty", calls: [], batch: 1, external: new Map() });
    program.encode(device.gpu.createCommandEncoder());
    expect(program.cost).toEqual({ flops: 0, bytes: 0 });
    program.dispose();
  });

  it("refuses kernels that need a step index without one, and leaves nothing behind", async () => {
    const device = await testDevice();
    const net = await setUp(target, device);
    const { external, free } = await net.create(1);
    const { liveObjects, liveBytes } = device.counters;
    const calls = net.calls.map((call) => ({ ...call, frame: true }));
    const creating = Program.create(device, { label: "net", calls, batch: 1, external });
    await expect(creating).rejects.toThrow(/^internal: net: \w+ needs a frame buffer$/);
    expect(device.counters).toMatchObject({ liveObjects, liveBytes });
    free();
    net.free();
  });

  it("says what did not fit where memory runs out, and leaves nothing behind", async () => {
    const device = await testDevice();
    const net = await setUp(target, device);
    const { external, free } = await net.create(1);
    const { liveObjects, liveBytes } = device.counters;
    const pop = device.gpu.popErrorScope.bind(device.gpu);
    let pops = 0;
    // The inner scope is validation, the outer one memory.
    vi.spyOn(device.gpu, "popErrorScope").mockImplementation(async () => {
      const memory = pops++ === 1;
      await pop();
      return memory ? ({ message: "no room" } as GPUError) : null;
    });
    const creating = Program.create(device, { label: "net", calls: net.calls, batch: 1, external, frame: net.frame });
    await expect(creating).rejects.toMatchObject({
      reason: "out-of-memory",
      message: "net at batch 1 (1 MiB) does not fit in GPU memory: no room",
    });
    expect(device.counters).toMatchObject({ liveObjects, liveBytes });
    free();
    net.free();
  });
});
