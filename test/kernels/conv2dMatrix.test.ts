/**
 * Convolution on matrix units, which no software adapter has: the kernel with emulated matrices against f64, and the
 * kernel itself through the compiler of Dawn's null backend.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { create, globals } from "webgpu";
import { loadWeights } from "../../src/kernels/load.ts";
import { lowerOps } from "../../src/kernels/lower.ts";
import type { Device } from "../../src/runtime/device.ts";
import type { KernelCall, MatrixTile, Target } from "../../src/runtime/kernel.ts";
import { openDevice } from "../../src/runtime/openDevice.ts";
import { type Conv2dCase, caseName } from "../cases.ts";
import { nmse } from "../reference/tensor.ts";
import { runCalls, testDevice, testLimits } from "../support/gpu.ts";
import { decodeF32, piecesOf } from "../support/gpuTensors.ts";
import { convProblem } from "../support/problems.ts";
import { emulateMatrices } from "../support/subgroupMatrix.ts";

const same = [1, 1, 1, 1] as const;
const none = [0, 0, 0, 0] as const;
const silu = { affine: true, act: "silu" } as const;

interface MatrixCase {
  readonly tile: MatrixTile;
  readonly shape: Conv2dCase;
  /** Pixels per workgroup that the size asks for. */
  readonly rows: number;
  readonly splits: number;
}

/** One case per pipeline: compiling one takes a software adapter seconds. */
const cases: readonly MatrixCase[] = [
  {
    // Tiles that span images, the last ragged; a ragged tile of channels; channels no multiple of a step; every part.
    tile: { m: 16, n: 16, k: 16, lanes: 32 },
    shape: {
      ...{ n: 3, h: 7, w: 5, c: 32, c2: 16, o: 80, k: 3, pad: same, stride: 2 },
      ...{ ...silu, channelAdd: true, residual: true, outScale: 0.5 },
    },
    rows: 64,
    splits: 1,
  },
  {
    tile: { m: 16, n: 16, k: 16, lanes: 32 },
    shape: { n: 1, h: 46, w: 45, c: 48, o: 256, k: 1, pad: none, residual: true },
    rows: 128,
    splits: 1,
  },
  {
    tile: { m: 8, n: 16, k: 8, lanes: 32 },
    shape: { n: 2, h: 4, w: 4, c: 96, o: 48, k: 3, pad: same, upsample: true, channelAdd: true },
    rows: 64,
    splits: 3,
  },
];

const targetOf = (matrix: MatrixTile): Target => ({
  shapes: "const",
  storage: "buffer",
  lanes: 0,
  software: false,
  matrix,
});

const lowered = ({ shape, tile }: MatrixCase) => {
  const problem = convProblem(shape, targetOf(tile), "f16");
  return { problem, ...lowerOps(problem.ops, targetOf(tile), "f16") };
};

const name = ({ shape, tile }: MatrixCase) => `${caseName("conv2d", shape)} by ${tile.m}×${tile.n}×${tile.k}`;

// The emulation is in f16, which is a feature.
describe.skipIf(testLimits)("conv2d on matrix units, emulated", () => {
  for (const it_ of cases)
    it(name(it_), async () => {
      const { tile, rows, splits } = it_;
      const { problem, calls, weights } = lowered(it_);
      const { inputs, batch, output } = problem;
      const [first, second] = calls as [KernelCall, KernelCall | undefined];
      expect(first.variant).toBe("matrix");
      expect(first.source).toContain(`* ${rows}u;`);
      expect(second?.bound[0]?.value.shape[0] ?? 1).toBe(splits);
      const gpu = await testDevice();
      const loaded = await loadWeights(gpu, targetOf(tile), weights, piecesOf(problem.params), decodeF32);
      const emulated = [emulateMatrices(first, tile), ...calls.slice(1)];
      const init = { target: targetOf(tile), batch, inputs, outputs: [output] };
      const [result] = await runCalls(emulated, init, loaded);
      for (const { object } of loaded.values()) gpu.release(object);
      const error = nmse(result?.data ?? [], problem.expected().data);
      expect(error).toBeLessThanOrEqual(2e-5);
    });
});

describe("conv2d on matrix units, compiled", () => {
  let device: Device;
  beforeAll(async () => {
    // Node aborts once this object is collected.
    const gpu = create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);
    Object.assign(globalThis, globals, { nullGpu: gpu });
    device = await openDevice(gpu);
  });
  afterAll(() => device?.dispose());

  for (const it_ of cases)
    it(name(it_), async () => {
      const [call] = lowered(it_).calls as [KernelCall];
      expect(device.gpu.features.has("chromium-experimental-subgroup-matrix" as GPUFeatureName)).toBe(true);
      await expect(device.pipelines.get("matrix", call.source, call.kinds)).resolves.toBeDefined();
      // The backend's compiler does look: operands that do not fit are refused.
      const wrong = call.source.replace("subgroup_matrix_left<f16", "subgroup_matrix_left<f32");
      await expect(device.pipelines.get("matrix", wrong, call.kinds)).rejects.toThrow("matrix element");
    });
});

describe("conv2d with matrix units at hand", () => {
  const tile = { m: 16, n: 16, k: 16, lanes: 32 };
  const variantOf = (shape: Conv2dCase, dtype: "f32" | "f16") =>
    lowerOps(convProblem(shape, targetOf(tile), dtype).ops, targetOf(tile), dtype).calls[0]?.variant;

  it("leaves f32 networks and odd channels to the others", () => {
    const shape = { n: 1, h: 8, w: 8, c: 32, o: 32, k: 1, pad: none };
    expect(variantOf(shape, "f16")).toBe("matrix");
    expect(variantOf(shape, "f32")).toBe("tiled");
    expect(variantOf({ ...shape, o: 24 }, "f16")).toBe("tiled");
    expect(variantOf({ ...shape, c: 24 }, "f16")).toBe("tiled");
  });
});
