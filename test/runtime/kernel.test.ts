/** Lowering: the contract of a kernel against real values, its uniforms and its source. */
import { describe, expect, it } from "vitest";
import { addKernel as add } from "../../src/kernels/operations/add.ts";
import { ShapeError } from "../../src/runtime/errors.ts";
import { defineKernel, linearGrid, type Target } from "../../src/runtime/kernel.ts";
import { makeValue, type Value } from "../../src/runtime/values.ts";

const uniform: Target = { shapes: "uniform", storage: "buffer", lanes: 0, software: true };
const constants: Target = { ...uniform, shapes: "const" };

const value = (name: string, shape: readonly number[], init: Partial<Value> = {}): Value =>
  makeValue({ name, shape, batched: true, dtype: "f32", storage: "buffer", ...init });

/** A kernel with a bit of everything. */
const sample = defineKernel({
  name: "sample",
  tensors: { x: "in N H W C", affine: "in? N 2 C", table: "in R C", labels: "in? *", y: "out N H W O" },
  floats: ["EPS"],
  frame: true,
  scalars: (d) => ({ AREA: (d.H as number) * (d.W as number) }),
  variants: [
    {
      name: "wide",
      when: (target) => target.lanes > 0,
      workgroup: (t) => t.lanes,
      grid: () => [1, 1, 1],
      wgsl: () => "wide",
    },
    {
      name: "direct",
      workgroup: () => 32,
      grid: (d, batch, wg) => [d.AREA as number, batch, wg],
      wgsl: (k) => `${k.header}\n--\n${k.prelude}\n${k.has("affine")} ${k.load("x", "i")} ${k.store("y", "j", "v")}`,
    },
  ],
  cost: (d, batch) => ({ flops: batch * (d.AREA as number), bytes: 0 }),
});

const tensors = () => ({
  x: value("conv_in", [2, 3, 6]),
  table: value("t", [9, 6], { batched: false }),
  y: value("out", [2, 3, 8]),
});
const lower = (over: Record<string, Value | undefined> = {}, target = uniform) =>
  sample.lower(target, "mid", { ...tensors(), ...over }, {}, { EPS: 0.5, SIZE: 7 });

describe("unifying dimensions", () => {
  const a = value("skip", [2, 3, 4]);
  const failure = (tensors: Record<string, Value>) => {
    try {
      add.lower(uniform, "mid.0", tensors, {}, { SCALE: 1 });
    } catch (error) {
      return error;
    }
    throw new Error("nothing was thrown");
  };

  it("names kernel, layer, tensor, value and both shapes", () => {
    const error = failure({ a, b: value("hidden", [2, 5, 4]), y: a }) as ShapeError;
    expect(error).toBeInstanceOf(ShapeError);
    expect(error.message).toBe('add(mid.0): b "hidden" has shape [2, 5, 4], expected [H=2, W=3, C=4]');
    expect(error).toMatchObject({ where: "add(mid.0)", tensor: 'b "hidden"', actual: [2, 5, 4] });
  });

  it("says what is expected where the number of axes or the batch axis is wrong", () => {
    const expected = (shape: string) => `add(mid.0): b "hidden" has shape [${shape}], expected N H W C`;
    expect(failure({ a, b: value("hidden", [2, 3]), y: a })).toMatchObject({ message: expected("2, 3") });
    const unbatched = value("hidden", [2, 3, 4], { batched: false });
    expect(failure({ a, b: unbatched, y: a })).toMatchObject({ message: expected("2, 3, 4") });
  });

  it("checks numbers in a contract, and dimensions across tensors", () => {
    expect(() => lower({ affine: value("a", [3, 6]) })).toThrow('affine "a" has shape [3, 6], expected [2, C=6]');
    expect(() => lower({ table: value("t", [9, 5], { batched: false }) })).toThrow(
      'table "t" has shape [9, 5], expected [R=9, C=6]',
    );
    expect(() => lower({ y: value("out", [3, 3, 8]) })).toThrow('y "out" has shape [3, 3, 8], expected [H=2, W=3, O]');
  });

  it("refuses channels that are padded to another number of groups", () => {
    expect(() => lower({ affine: value("a", [2, 6], { segments: [2, 2, 2] }) })).toThrow(
      'internal: sample(mid): affine "a" pads its channels to 3 groups, others differ',
    );
  });

  it("leaves * to the caller, and needs every tensor that is not optional", () => {
    expect(() => lower({ labels: value("l", [1, 2, 3, 4, 5], { dtype: "u32" }) })).not.toThrow();
    expect(() => lower({ table: undefined })).toThrow("internal: sample(mid): tensor table is not bound");
  });
});

describe("variants", () => {
  it("takes the first that fits, or the one that is forced", () => {
    expect(lower().variant).toBe("direct");
    const lanes = { ...uniform, lanes: 8 };
    expect(lower({}, lanes).variant).toBe("wide");
    const forced = (name: string) => sample.lower(lanes, "mid", tensors(), {}, { EPS: 1 }, name);
    expect(forced("direct").variant).toBe("direct");
    expect(() => forced("winograd")).toThrow("internal: sample(mid): no variant winograd");
  });
});

describe("uniforms and source", () => {
  it("carries every dimension and scalar in the uniform, after the batch", () => {
    const { source, params, kinds } = lower();
    const fields = source.match(/struct Params \{ (.*) \}/)?.[1]?.split(", ") ?? [];
    expect(fields).toEqual([
      "N: u32",
      "EPS: f32",
      "SIZE: u32",
      "H: u32",
      "W: u32",
      "C: u32",
      "C4: u32",
      "R: u32",
      "O: u32",
      "O4: u32",
      "AREA: u32",
    ]);
    const words = params(5);
    expect([...words.subarray(0, fields.length)]).toEqual([5, 0x3f000000, 7, 2, 3, 6, 2, 9, 8, 2, 6]);
    expect(words.length % 4).toBe(0);
    for (const field of fields) expect(source).toContain(`let ${field.split(":")[0]} = params.`);
    expect(kinds).toEqual(["read-only-storage", "read-only-storage", "storage", "uniform", "uniform"]);
  });

  it("writes them into the source instead, the batch never", () => {
    const { source, params } = lower({}, constants);
    for (const line of ["const EPS = 0.5f;", "const SIZE = 7u;", "const C4 = 2u;", "const AREA = 6u;"])
      expect(source).toContain(line);
    expect(source).toContain("struct Params { N: u32 }");
    expect([...params(5)]).toEqual([5, 0, 0, 0]);
  });

  it("hides storage and element type behind the accessors", () => {
    const source = (x: Partial<Value>, y: Partial<Value>) =>
      lower({ x: value("x", [2, 3, 6], x), y: value("y", [2, 3, 8], y) }).source;
    expect(source({}, {})).toContain("false x[i] y[j] = v;");
    expect(source({ dtype: "f16" }, { dtype: "f16" })).toContain("unpack_half(x[i]) y[j] = pack_half(held(v));");
    const texture = { storage: "texture" } as const;
    expect(source(texture, texture)).toContain(
      "textureLoad(x, texel(AT_x + i), 0) textureStore(y, texel(AT_y + j), v);",
    );
    expect(lower({ affine: value("a", [2, 6]) }).source).toContain("true x[i]");
  });

  it("tells kernels where their parts of textures begin", () => {
    const [x, y] = [value("x", [2, 3, 6], { storage: "texture" }), value("y", [2, 3, 8], { storage: "texture" })];
    const { source, params } = lower({ x, y }, constants);
    expect(source).toContain("struct Params { N: u32, AT_x: u32, AT_y: u32 }");
    expect([...params(5)]).toEqual([5, 0, 0, 0]);
    expect([...params(5, (v) => (v === y ? 8192 : 0))]).toEqual([5, 0, 8192, 0]);
  });

  it("lets what stores f16 record what did not fit, where there is room", () => {
    const y = value("y", [2, 3, 8], { dtype: "f16" });
    const { source, params, kinds } = lower({ y }, constants);
    expect(source).toContain("struct Params { N: u32, DISPATCH: u32 }");
    expect([...params(5, () => 0, 3)]).toEqual([5, 3, 0, 0]);
    expect(kinds.filter((kind) => kind === "storage")).toHaveLength(2);
    expect(lower({ y }, { ...constants, storageBuffers: 3 }).source).not.toContain("DISPATCH");
  });

  it("reads textures as storage textures as far as the device allows, after those that are written", () => {
    const texture = { storage: "texture" } as const;
    const tensors = {
      x: value("x", [2, 3, 6], texture),
      table: value("t", [9, 6], { ...texture, batched: false, dtype: "f16" }),
      y: value("y", [2, 3, 8], texture),
    };
    const kinds = (storageTextures?: number) => lower(tensors, { ...uniform, storageTextures }).kinds.slice(0, 3);
    expect(kinds()).toEqual(["texture", "texture", "store-rgba32float"]);
    expect(kinds(1)).toEqual(["texture", "texture", "store-rgba32float"]);
    expect(kinds(2)).toEqual(["load-rgba32float", "texture", "store-rgba32float"]);
    expect(kinds(8)).toEqual(["load-rgba32float", "load-rgba16float", "store-rgba32float"]);
    const { source } = lower(tensors, { ...uniform, storageTextures: 2 });
    expect(source).toContain("var x: texture_storage_2d<rgba32float, read>;");
    expect(source).toContain("textureLoad(x, texel(AT_x + i)) ");
    expect(source).toContain("var table: texture_2d<f32>;");
  });

  it("refuses a texture that is read and written", () => {
    const rw = defineKernel({ ...sample.def, name: "rw", tensors: { x: "inout N H W C" }, scalars: undefined });
    const x = value("state", [2, 3, 4], { storage: "texture" });
    expect(() => rw.lower({ ...uniform, lanes: 8 }, "l", { x }, {})).toThrow(
      'internal: texture "state" cannot be read and written',
    );
  });

  it("gives grid and cost of any batch", () => {
    expect(lower().grid(4)).toEqual([6, 4, 32]);
    expect(lower().cost(4)).toEqual({ flops: 24, bytes: 0 });
  });
});

it("linearGrid covers every element and stays within the limit of an axis", () => {
  for (const count of [0, 1, 32, 33, 32 * 32768, 32 * 32768 + 1, 2 ** 31]) {
    const [x, y, z] = linearGrid(count, 32);
    expect(x * y * z * 32).toBeGreaterThanOrEqual(count);
    expect(Math.max(x, y)).toBeLessThanOrEqual(65535);
    expect(Math.min(x, y, z)).toBeGreaterThanOrEqual(1);
  }
});
