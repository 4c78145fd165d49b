/** The device: its accounts, its typed errors, and whose it is. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { targetFor } from "../../src/kernels/target.ts";
import { openNodeDevice } from "../../src/node/device.ts";
import { Device } from "../../src/runtime/device.ts";
import { DeviceError, ShapeError } from "../../src/runtime/errors.ts";
import { uploadBuffer } from "../../src/runtime/memory.ts";
import { openAdapter, openDevice, wrapDevice } from "../../src/runtime/openDevice.ts";
import { testDevice } from "../support/gpu.ts";

const STORAGE = () => GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC;
const tiny = (device: Device, size = 64) => device.createBuffer({ size, usage: STORAGE() });
/** A texture that no machine has the memory for: 16384 × 16384 × 256 texels of 16 bytes. */
function enormous(device: Device): GPUTexture {
  const { maxTextureDimension2D: side, maxTextureArrayLayers: layers } = device.gpu.limits;
  const usage = GPUTextureUsage.STORAGE_BINDING;
  return device.createTexture({ size: [side, side, layers], format: "rgba32float", usage }, 1);
}

/** A GPUDevice of which only the events matter. */
function fakeGpu() {
  const handlers = new Set<(event: Event) => void>();
  let lose: (info: Partial<GPUDeviceLostInfo>) => void = () => {};
  const gpu = {
    features: new Set<string>(),
    limits: { maxStorageBufferBindingSize: 1000, maxBufferSize: 800, maxTextureDimension2D: 2 },
    lost: new Promise((resolve) => {
      lose = resolve;
    }),
    queue: { submit: vi.fn() },
    addEventListener: (_: string, handler: (event: Event) => void) => handlers.add(handler),
    removeEventListener: (_: string, handler: (event: Event) => void) => handlers.delete(handler),
    destroy: vi.fn(),
  };
  const raise = (error: unknown) => {
    for (const handler of handlers) handler({ error } as unknown as Event);
  };
  return {
    gpu: gpu as typeof gpu & GPUDevice,
    handlers,
    raise,
    lose: (info: Partial<GPUDeviceLostInfo>) => lose(info),
  };
}
const info = (over: Partial<GPUAdapterInfo> = {}) =>
  ({
    vendor: "acme",
    architecture: "x1",
    device: "",
    description: "",
    isFallbackAdapter: false,
    ...over,
  }) as GPUAdapterInfo;

afterEach(() => {
  vi.restoreAllMocks();
});

describe("accounts", () => {
  it("count bytes and objects, what is live and what was most, and forget what is released", async () => {
    using device = await openNodeDevice({ fast: false });
    const a = tiny(device, 64);
    const usage = GPUTextureUsage.TEXTURE_BINDING;
    const b = device.createTexture({ size: [4, 4], format: "rgba32float", usage }, 256);
    expect(device.counters).toMatchObject({ liveBytes: 320, liveObjects: 2, peakBytes: 320, created: 2 });
    device.release(a);
    device.release(a);
    expect(device.counters).toMatchObject({ liveBytes: 256, liveObjects: 1, peakBytes: 320, created: 2 });
    tiny(device, 16);
    expect(device.counters).toMatchObject({ liveBytes: 272, peakBytes: 320, created: 3 });
    device.release(b);
    device.dispose();
    expect(device.counters).toMatchObject({ liveBytes: 0, liveObjects: 0 });
  });

  it("count submits and read-backs, and a read leaves nothing behind", async () => {
    const device = await testDevice();
    const buffer = uploadBuffer(device, "data", Uint32Array.of(1, 2, 3, 4));
    const { submits, mapAsync, liveBytes } = device.counters;
    expect([...new Uint32Array(await device.read(buffer, 8, 8))]).toEqual([3, 4]);
    expect(device.counters).toMatchObject({ submits: submits + 1, mapAsync: mapAsync + 1, liveBytes });
    device.release(buffer);
  });

  it("know what a binding holds at most", () => {
    const { gpu } = fakeGpu();
    const device = new Device(gpu, info(), false);
    expect(device.maxUnits("buffer", 16)).toBe(50);
    expect(device.maxUnits("texture", 16)).toBe(2 * 4096);
  });
});

describe("ownership", () => {
  it("a caller's device outlives us, with what the caller made on it", async () => {
    using owner = await openNodeDevice({ fast: false });
    const theirs = uploadBuffer(owner, "theirs", Uint32Array.of(42));
    const ours = wrapDevice(owner.gpu);
    expect(ours.owned).toBe(false);
    tiny(ours);
    ours.dispose();
    expect(ours.counters.liveBytes).toBe(0);
    expect(new Uint32Array(await owner.read(theirs, 4))[0]).toBe(42);
    expect(() => owner.check()).not.toThrow();
  });

  it("destroys what it opened, and listens no more", () => {
    for (const owned of [true, false]) {
      const { gpu, handlers } = fakeGpu();
      const device = new Device(gpu, info(), owned);
      expect(handlers.size).toBe(1);
      device.dispose();
      expect(gpu.destroy).toHaveBeenCalledTimes(owned ? 1 : 0);
      expect(handlers.size).toBe(0);
    }
  });
});

describe("allocate", () => {
  it("turns the GPU's lack of memory into a typed error and leaves nothing allocated", async () => {
    const device = await testDevice();
    const { liveBytes, liveObjects } = device.counters;
    const creating = device.allocate("the plan", () => [tiny(device), enormous(device), tiny(device)]);
    await expect(creating).rejects.toBeInstanceOf(DeviceError);
    await expect(creating).rejects.toMatchObject({ reason: "out-of-memory" });
    await expect(creating).rejects.toThrow(/^the plan does not fit in GPU memory: /);
    expect(device.counters).toMatchObject({ liveBytes, liveObjects });
    // The device is as good as before.
    const buffer = uploadBuffer(device, "data", Uint32Array.of(7));
    expect(new Uint32Array(await device.read(buffer, 4))[0]).toBe(7);
    device.release(buffer);
  });

  it("calls what WebGPU refuses our own mistake", async () => {
    const device = await testDevice();
    const { liveBytes, liveObjects } = device.counters;
    const creating = device.allocate("the plan", () => [
      tiny(device),
      device.createBuffer({ size: 16, usage: 0xffff }),
    ]);
    await expect(creating).rejects.toMatchObject({ reason: "validation" });
    await expect(creating).rejects.toThrow(/^internal: the plan: /);
    expect(device.counters).toMatchObject({ liveBytes, liveObjects });
    expect(() => device.check()).not.toThrow();
  });

  it("passes on what the function throws, and frees what it had made", async () => {
    const device = await testDevice();
    const { liveBytes } = device.counters;
    const failure = new RangeError("no");
    const creating = device.allocate("the plan", () => {
      tiny(device);
      throw failure;
    });
    await expect(creating).rejects.toBe(failure);
    expect(device.counters.liveBytes).toBe(liveBytes);
  });

  it("keeps two callers apart: the failure of one neither frees nor fails the other's", async () => {
    const device = await testDevice();
    const before = device.counters.liveBytes;
    const [bad, good, worse] = await Promise.allSettled([
      device.allocate("bad", () => enormous(device)),
      device.allocate("good", () => uploadBuffer(device, "kept", Uint32Array.of(5))),
      device.allocate("worse", () => device.createBuffer({ size: 16, usage: 0xffff })),
    ]);
    expect(bad).toMatchObject({ status: "rejected", reason: { reason: "out-of-memory" } });
    expect(worse).toMatchObject({ status: "rejected", reason: { reason: "validation" } });
    const buffer = good.status === "fulfilled" && good.value;
    if (!buffer) throw new Error("the good one failed too");
    expect(new Uint32Array(await device.read(buffer, 4))[0]).toBe(5);
    device.release(buffer);
    expect(device.counters.liveBytes).toBe(before);
  });
});

describe("failures between submits", () => {
  it("a lost device fails the next submit", async () => {
    const { gpu, lose } = fakeGpu();
    const device = new Device(gpu, info(), true);
    device.submit([]);
    lose({ reason: "unknown", message: "driver reset" });
    await gpu.lost;
    expect(() => device.submit([])).toThrow(new DeviceError("lost", "the GPU device was lost: driver reset"));
    expect(() => device.check()).toThrow(DeviceError);
    expect(gpu.queue.submit).toHaveBeenCalledTimes(1);
  });

  it("so does a caller's device that the caller destroyed, but not our own end", async () => {
    const caller = fakeGpu();
    const device = new Device(caller.gpu, info(), false);
    caller.lose({ reason: "destroyed", message: "gone" });
    await caller.gpu.lost;
    expect(() => device.submit([])).toThrow(new DeviceError("lost", "the GPU device was lost: gone"));
    const own = fakeGpu();
    const disposed = new Device(own.gpu, info(), true);
    disposed.dispose();
    own.lose({ reason: "destroyed", message: "gone" });
    await own.gpu.lost;
    expect(() => disposed.check()).not.toThrow();
  });

  it("a device that is lost during a read says so instead of the driver's words", async () => {
    using device = await openNodeDevice({ fast: false });
    const buffer = tiny(device);
    const reading = device.read(buffer, 16);
    device.gpu.destroy();
    await expect(reading).rejects.toMatchObject({ name: "DeviceError", reason: "lost" });
    expect(device.counters.liveBytes).toBe(64);
  });

  it("explains what fails on a lost device, and nothing else", async () => {
    const { gpu, lose } = fakeGpu();
    const device = new Device(gpu, info(), true);
    const [raw, internal, given] = [
      new TypeError("x"),
      new DeviceError("validation", "x"),
      new ShapeError("", "", "", []),
    ];
    for (const error of [raw, internal, given]) expect(await device.explain(error)).toBe(error);
    const explained = device.explain(raw);
    lose({ message: "driver reset" });
    const lost = new DeviceError("lost", "the GPU device was lost: driver reset");
    expect(await explained).toEqual(lost);
    for (const error of [raw, internal, given]) expect(await device.explain(error)).toEqual(lost);
    expect(await device.failure()).toEqual(lost);
  });

  it("a buffer that cannot be mapped is memory that is short, and leaves nothing", async () => {
    const device = await testDevice();
    const { liveBytes, liveObjects } = device.counters;
    const data = new Uint32Array(4);
    const buffer = uploadBuffer(device, "weights", data);
    const mapped = Object.getPrototypeOf(buffer) as GPUBuffer;
    const refuse = () => {
      throw new RangeError("Array buffer allocation failed\nat somewhere");
    };
    const problem = "weights (1 MiB) does not fit in memory: Array buffer allocation failed";
    for (const place of ["createBuffer", "getMappedRange"] as const) {
      const spy =
        place === "createBuffer"
          ? vi.spyOn(device.gpu, "createBuffer").mockImplementation(refuse)
          : vi.spyOn(mapped, "getMappedRange").mockImplementation(refuse);
      expect(() => uploadBuffer(device, "weights", data), place).toThrow(new DeviceError("out-of-memory", problem));
      const many = device.allocate("many", () => [tiny(device), uploadBuffer(device, "weights", data)]);
      await expect(many, place).rejects.toMatchObject({ name: "DeviceError", reason: "out-of-memory" });
      spy.mockRestore();
    }
    const range = vi.spyOn(mapped, "getMappedRange").mockImplementation(refuse);
    await expect(device.read(buffer, 16)).rejects.toMatchObject({ name: "DeviceError", reason: "out-of-memory" });
    range.mockRestore();
    expect([...new Uint8Array(await device.read(buffer, 16))]).toEqual(new Array(16).fill(0));
    device.release(buffer);
    expect(device.counters).toMatchObject({ liveBytes, liveObjects });
  });

  it("an error that nobody waits for fails the next submit, the first one counts", async () => {
    const { gpu, raise } = fakeGpu();
    const device = new Device(gpu, info(), true);
    raise({ message: "binding aliased" });
    raise({ message: "consequence" });
    expect(() => device.submit([])).toThrow(new DeviceError("validation", "the GPU refused work: binding aliased"));
  });

  it("memory that ran out outside of allocate is named as that", async () => {
    using device = await openNodeDevice({ fast: false });
    enormous(device);
    await vi.waitFor(() => expect(() => device.check()).toThrow());
    expect(() => device.submit([])).toThrow(expect.objectContaining({ reason: "out-of-memory" }));
  });
});

describe("capabilities", () => {
  const capabilities = (over: Partial<GPUAdapterInfo>, features: string[] = []) => {
    const { gpu } = fakeGpu();
    for (const feature of features) (gpu.features as unknown as Set<string>).add(feature);
    return new Device(gpu, info(over), false).capabilities;
  };

  it.each([
    [{ isFallbackAdapter: true }, true],
    [{ description: "llvmpipe (LLVM 15.0.6, 256 bits)" }, true],
    [{ architecture: "swiftshader" }, true],
    [{ device: "Microsoft Basic Render Driver" }, true],
    [{ description: "NVIDIA H200" }, false],
  ])("tells software adapters: %o", (over, software) => {
    expect(capabilities(over).software).toBe(software);
  });

  it("knows how many threads a workgroup can have", () => {
    const { gpu } = fakeGpu();
    Object.assign(gpu.limits, { maxComputeInvocationsPerWorkgroup: 256, maxComputeWorkgroupSizeX: 128 });
    expect(new Device(gpu, info(), false).capabilities.maxThreads).toBe(128);
  });

  it("leaves subgroups that no test has seen to kernels without them", () => {
    const lanesOf = (lanes: number, software = true) => {
      const { gpu } = fakeGpu();
      (gpu.features as unknown as Set<string>).add("subgroups");
      const sizes = { subgroupMinSize: lanes, subgroupMaxSize: lanes, isFallbackAdapter: software };
      return targetFor(new Device(gpu, info(sizes), false));
    };
    for (const lanes of [4, 8]) expect(lanesOf(lanes)).toMatchObject({ lanes, storage: "texture", shapes: "uniform" });
    // Shapes stay in uniforms: a software adapter compiles for seconds.
    for (const lanes of [1, 2, 16, 32])
      expect(lanesOf(lanes)).toMatchObject({ lanes: 0, storage: "buffer", shapes: "uniform" });
    expect(lanesOf(8, false)).toMatchObject({ lanes: 0, storage: "buffer", shapes: "const" });
  });

  it("has a subgroup size only where it is fixed and subgroups may be used", () => {
    const fixed = { subgroupMinSize: 8, subgroupMaxSize: 8 };
    expect(capabilities(fixed, ["subgroups"]).subgroupSize).toBe(8);
    expect(capabilities(fixed).subgroupSize).toBe(0);
    expect(capabilities({ subgroupMinSize: 16, subgroupMaxSize: 32 }, ["subgroups"]).subgroupSize).toBe(0);
    expect(capabilities({}, ["timestamp-query"]).timestamps).toBe(true);
  });

  it("takes the largest tile of its matrix units that kernels can use", () => {
    const config = (M: number, N: number, K: number, result = "f32", component = "f16") => ({
      ...{ M, N, K, componentType: component, resultComponentType: result },
    });
    const subgroupMatrixConfigs = [
      ...[config(8, 8, 8), config(16, 8, 16), config(16, 16, 16), config(16, 16, 32)],
      ...[config(16, 16, 16, "f16"), config(16, 16, 16, "f32", "f32")],
    ];
    const adapter = { subgroupMinSize: 32, subgroupMaxSize: 32, subgroupMatrixConfigs } as Partial<GPUAdapterInfo>;
    const features = ["subgroups", "shader-f16", "chromium-experimental-subgroup-matrix"];
    expect(capabilities(adapter, features).matrix).toEqual({ m: 16, n: 16, k: 16, lanes: 32 });
    const only = (...configs: object[]) =>
      capabilities({ ...adapter, subgroupMatrixConfigs: configs } as Partial<GPUAdapterInfo>, features).matrix;
    expect(only(config(16, 8, 16), config(8, 8, 8))).toEqual({ m: 16, n: 8, k: 16, lanes: 32 });
    expect(only(config(16, 16, 16, "f16"), config(16, 16, 32))).toBeUndefined();
    for (const missing of features)
      expect(
        capabilities(
          adapter,
          features.filter((f) => f !== missing),
        ).matrix,
      ).toBeUndefined();
    expect(capabilities({ ...adapter, subgroupMinSize: 16 }, features).matrix).toBeUndefined();
  });

  it("names an adapter by the best that it says of itself", () => {
    const name = (over: Partial<GPUAdapterInfo>) => new Device(fakeGpu().gpu, info(over), false).name;
    expect(name({ description: "Radeon 780M", device: "0x15bf" })).toBe("Radeon 780M");
    expect(name({ device: "0x15bf" })).toBe("0x15bf");
    expect(name({})).toBe("acme x1");
    expect(name({ vendor: "", architecture: "" })).toBe("unknown adapter");
  });
});

describe("opening", () => {
  it("raises limits to the adapter's and takes the features it has", async () => {
    const limits = new Proxy({}, { get: (_, name) => `${String(name)} of the adapter` });
    const requestDevice = vi.fn(async (_: GPUDeviceDescriptor) => fakeGpu().gpu);
    const adapter = { limits, info: info(), features: new Set(["subgroups", "shader-f16", "other"]), requestDevice };
    const device = await openAdapter(adapter as unknown as GPUAdapter);
    expect(device.owned).toBe(true);
    const { requiredFeatures, requiredLimits } = requestDevice.mock.calls[0]![0];
    expect(requiredFeatures).toEqual(["subgroups", "shader-f16"]);
    expect(requiredLimits).toMatchObject({
      maxBufferSize: "maxBufferSize of the adapter",
      maxTextureDimension2D: "maxTextureDimension2D of the adapter",
    });
  });

  it("says which adapter refuses", async () => {
    const requestDevice = () => Promise.reject(new Error("too many devices"));
    const adapter = { limits: {}, info: info({ description: "Acme 1" }), features: new Set(), requestDevice };
    await expect(openAdapter(adapter as unknown as GPUAdapter)).rejects.toMatchObject({
      reason: "unsupported",
      message: "adapter Acme 1 opens no device: too many devices",
    });
  });

  it("falls back to an adapter of the compatibility level, and only where there is no other", async () => {
    const opened = { limits: {}, info: info(), features: new Set(), requestDevice: async () => fakeGpu().gpu };
    const asked: (string | undefined)[] = [];
    const gpu = (level?: string) =>
      ({
        requestAdapter: async ({ featureLevel }: GPURequestAdapterOptions) => {
          asked.push(featureLevel);
          return featureLevel === level ? opened : null;
        },
      }) as unknown as GPU;
    await openDevice(gpu("compatibility"));
    expect(asked.splice(0)).toEqual([undefined, "compatibility"]);
    await openDevice(gpu());
    expect(asked).toEqual([undefined]);
  });

  it("tells a platform without WebGPU from one without an adapter", async () => {
    const none = { requestAdapter: async () => null } as unknown as GPU;
    await expect(openDevice(undefined)).rejects.toThrow(/^this platform has no WebGPU \(/);
    await expect(openDevice(none)).rejects.toThrow(/^no WebGPU adapter was found \(/);
    await expect(openDevice(none)).rejects.toMatchObject({
      reason: "unsupported",
      hint: expect.stringContaining("ddim doctor"),
    });
  });
});
