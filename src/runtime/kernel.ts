/**
 * A kernel is data: named tensors with named dimensions, scalars, variants. `lower()` unifies the dimensions with real
 * values, chooses a variant, generates the binding header with the accessors that hide storage and dtype, and returns a
 * `KernelCall`: everything that a program needs to replay the dispatch at any batch size.
 *
 * Dimensions and scalars are constants in the source where compiling is cheap, or fields of a uniform where a pipeline
 * costs seconds to compile and a few must serve every layer (`target.shapes`). Kernel bodies cannot tell: after
 * `${k.prelude}` the names are in scope. The batch N is never source.
 */
import { ShapeError } from "./errors.ts";
import type { BindingKind } from "./pipelines.ts";
import { channelGroups, type Storage, TEXTURE_SHIFT, TEXTURE_WIDTH, type Value } from "./values.ts";
import { f32, u32 } from "./wgsl.ts";

/** What kernels are generated for; derived from the device's capabilities, overridable in tests. */
export interface Target {
  /** Dimensions in the source, or in a uniform. */
  readonly shapes: "const" | "uniform";
  /** Where activations live. */
  readonly storage: Storage;
  /** Subgroup size when it is fixed and subgroup operations may be used, else 0. */
  readonly lanes: number;
  /** A processor plays the GPU: no barriers, few threads. */
  readonly software: boolean;
}

export type Flag = string | number | boolean;
export type Flags = Readonly<Record<string, Flag>>;
export type Dims = Readonly<Record<string, number>>;
export type Grid = readonly [number, number, number];

/** Work of one dispatch at a batch size: floating point operations, and bytes that must cross the memory once. */
export interface Cost {
  flops: number;
  bytes: number;
}

/** What a kernel body is written against. */
export interface Codegen<F extends Flags = Flags> {
  readonly flags: F;
  readonly target: Target;
  /** Threads of the workgroup along x. */
  readonly workgroup: number;
  /** Bindings and accessors; paste at module scope. */
  readonly header: string;
  /** Brings dims and scalars into scope; paste first in `main`. */
  readonly prelude: string;
  /** Whether an optional tensor is bound. */
  has(tensor: string): boolean;
  /** Expression: the vec4f (or u32) at a linear index. */
  load(tensor: string, index: string): string;
  /** Statement: writes a vec4f (or u32) at a linear index. */
  store(tensor: string, index: string, value: string): string;
}

export interface Variant<F extends Flags> {
  readonly name: string;
  /** Whether this variant can run for the target and sizes; absent: always. Never depends on N. */
  when?(target: Target, dims: Dims, flags: F): boolean;
  /** Threads along x. */
  workgroup(target: Target): number;
  grid(dims: Dims, batch: number, workgroup: number, flags: F): Grid;
  wgsl(k: Codegen<F>): string;
}

export interface KernelDef<F extends Flags> {
  readonly name: string;
  /**
   * Binding order and contract: `"in N H W C"`, `"in? N 2 C"` (optional), `"out N H W C"`, `"inout N H W C"`,
   * `"atomic *"` (u32); `*` leaves the sizes to the caller. A leading N is the batch. The last axis of a float tensor
   * named C also defines C4, the number of vec4 groups.
   */
  readonly tensors: Readonly<Record<string, string>>;
  /** Names of scalars that are f32; all others are u32. */
  readonly floats?: readonly string[];
  /** Whether the kernel reads the step index of the sampling loop (`frame.step`). */
  readonly frame?: boolean;
  /** Scalars computed from dims and flags, for example output sizes. @throws ShapeError when they make no sense. */
  scalars?(dims: Dims, flags: F): Dims;
  readonly variants: readonly Variant<F>[];
  cost(dims: Dims, batch: number, flags: F): Cost;
}

export interface BoundValue {
  readonly tensor: string;
  readonly value: Value;
  readonly access: "in" | "out" | "inout" | "atomic";
}

/** One dispatch, ready for planning and replay at any batch size. */
export interface KernelCall {
  readonly kernel: string;
  readonly variant: string;
  /** Layer path. */
  readonly label: string;
  readonly source: string;
  readonly kinds: readonly BindingKind[];
  readonly bound: readonly BoundValue[];
  readonly frame: boolean;
  /** Contents of the params uniform. */
  params(batch: number): Uint32Array<ArrayBuffer>;
  grid(batch: number): Grid;
  cost(batch: number): Cost;
}

export interface Kernel<F extends Flags> {
  readonly def: KernelDef<F>;
  /**
   * @param tensors one value per tensor of the contract; optional ones may be undefined
   * @param variant forces a variant (tests, tuning); otherwise the first whose `when` holds
   * @throws ShapeError when sizes disagree
   */
  lower(
    target: Target,
    label: string,
    tensors: Readonly<Record<string, Value | undefined>>,
    flags: F,
    extra?: Dims,
    variant?: string,
  ): KernelCall;
}

interface TensorContract {
  access: BoundValue["access"];
  optional: boolean;
  dims: string[];
}

function parseContract(text: string): TensorContract {
  const [mode = "", ...dims] = text.split(" ");
  return { access: mode.replace("?", "") as BoundValue["access"], optional: mode.endsWith("?"), dims };
}

/** Binds the named dims of one tensor to a value's sizes; throws where they disagree with what is known. */
function unify(
  where: string,
  tensor: string,
  contract: TensorContract,
  value: Value,
  dims: Record<string, number>,
): void {
  if (contract.dims[0] === "*") return;
  const batched = contract.dims[0] === "N";
  const names = batched ? contract.dims.slice(1) : contract.dims;
  const wrong = (expected: string) => new ShapeError(where, `${tensor} "${value.name}"`, expected, value.shape);
  const spelled = () => `[${names.map((d) => (d in dims ? `${d}=${dims[d]}` : d)).join(", ")}]`;
  if (batched !== value.batched || names.length !== value.shape.length) throw wrong(`${contract.dims.join(" ")}`);
  names.forEach((name, axis) => {
    const size = value.shape[axis] as number;
    if (/^\d+$/.test(name)) {
      if (Number(name) !== size) throw wrong(spelled());
      return;
    }
    if (dims[name] !== undefined && dims[name] !== size) throw wrong(spelled());
    dims[name] = size;
    if (axis !== names.length - 1 || value.dtype === "u32") return;
    const groups = channelGroups(value.segments);
    if ((dims[`${name}4`] ?? groups) !== groups)
      throw new TypeError(
        `internal: ${where}: ${tensor} "${value.name}" pads its channels to ${groups} groups, others differ`,
      );
    dims[`${name}4`] = groups;
  });
}

const HALF = `
fn unpack_half(p: vec2u) -> vec4f { return vec4f(unpack2x16float(p.x), unpack2x16float(p.y)); }
fn pack_half(v: vec4f) -> vec2u { return vec2u(pack2x16float(v.xy), pack2x16float(v.zw)); }`;
/**
 * Rounds to the 11 significant bits of f16, half to even. Texture stores may truncate instead (llvmpipe does), which
 * quadruples the error; after this the store has nothing left to round but subnormals.
 */
const ROUND_HALF = `
fn round_half(v: vec4f) -> vec4f {
  let bits = bitcast<vec4u>(v);
  return bitcast<vec4f>((bits + vec4u(0xfffu) + ((bits >> vec4u(13u)) & vec4u(1u))) & vec4u(0xffffe000u));
}`;
const TEXEL = `
fn texel(i: u32) -> vec2u { return vec2u(i & ${TEXTURE_WIDTH - 1}u, i >> ${TEXTURE_SHIFT}u); }`;

function bindingKind({ value, access }: BoundValue): BindingKind {
  if (value.storage === "texture") {
    if (access === "in") return "texture";
    if (access !== "out") throw new TypeError(`internal: texture "${value.name}" cannot be read and written`);
    return value.dtype === "f16" ? "store-rgba16float" : "store-rgba32float";
  }
  return access === "in" ? "read-only-storage" : "storage";
}

function declaration(binding: number, { tensor, value, access }: BoundValue): string {
  const at = `@group(0) @binding(${binding}) var`;
  if (value.storage === "texture")
    return access === "in"
      ? `${at} ${tensor}: texture_2d<f32>;`
      : `${at} ${tensor}: texture_storage_2d<${value.dtype === "f16" ? "rgba16float" : "rgba32float"}, write>;`;
  const element = access === "atomic" ? "atomic<u32>" : { f32: "vec4f", f16: "vec2u", u32: "u32" }[value.dtype];
  return `${at}<storage, ${access === "in" ? "read" : "read_write"}> ${tensor}: array<${element}>;`;
}

function makeCodegen<F extends Flags>(
  def: KernelDef<F>,
  target: Target,
  flags: F,
  workgroup: number,
  bound: readonly BoundValue[],
  names: Dims,
): Codegen<F> {
  const by = new Map(bound.map((b) => [b.tensor, b.value]));
  const isFloat = (name: string) => def.floats?.includes(name) ?? false;
  const uniform = target.shapes === "uniform" ? Object.keys(names) : [];
  const fields = ["N", ...uniform].map((name) => `${name}: ${isFloat(name) ? "f32" : "u32"}`);
  const constants =
    target.shapes === "const"
      ? Object.entries(names).map(([n, v]) => `const ${n} = ${isFloat(n) ? f32(v) : u32(v)};`)
      : [];
  const header = [
    ...bound.map((b, i) => declaration(i, b)),
    `struct Params { ${fields.join(", ")} }`,
    `@group(0) @binding(${bound.length}) var<uniform> params: Params;`,
    def.frame ? `@group(0) @binding(${bound.length + 1}) var<uniform> frame: vec4u;` : "",
    ...constants,
    bound.some((b) => b.value.dtype === "f16" && b.value.storage === "buffer") ? HALF : "",
    bound.some((b) => b.value.storage === "texture") ? TEXEL : "",
    bound.some((b) => b.value.dtype === "f16" && b.value.storage === "texture" && b.access === "out") ? ROUND_HALF : "",
  ].filter(Boolean);
  const value = (tensor: string): Value => {
    const found = by.get(tensor);
    if (!found) throw new TypeError(`internal: kernel ${def.name} has no tensor ${tensor}`);
    return found;
  };
  return {
    flags,
    target,
    workgroup,
    header: header.join("\n"),
    prelude: ["N", ...uniform].map((name) => `let ${name} = params.${name};`).join(" "),
    has: (tensor) => by.has(tensor),
    load(tensor, index) {
      const { storage, dtype } = value(tensor);
      if (storage === "texture") return `textureLoad(${tensor}, texel(${index}), 0)`;
      return dtype === "f16" ? `unpack_half(${tensor}[${index}])` : `${tensor}[${index}]`;
    },
    store(tensor, index, v) {
      const { storage, dtype } = value(tensor);
      if (storage === "texture")
        return `textureStore(${tensor}, texel(${index}), ${dtype === "f16" ? `round_half(${v})` : v});`;
      return `${tensor}[${index}] = ${dtype === "f16" ? `pack_half(${v})` : v};`;
    },
  };
}

export function defineKernel<F extends Flags = Flags>(def: KernelDef<F>): Kernel<F> {
  const contracts = Object.entries(def.tensors).map(([tensor, text]) => [tensor, parseContract(text)] as const);
  return {
    def,
    lower(target, label, tensors, flags, extra = {}, forced) {
      const where = `${def.name}(${label})`;
      const dims: Record<string, number> = { ...extra };
      const bound: BoundValue[] = [];
      for (const [tensor, contract] of contracts) {
        const value = tensors[tensor];
        if (!value) {
          if (!contract.optional) throw new TypeError(`internal: ${where}: tensor ${tensor} is not bound`);
          continue;
        }
        unify(where, tensor, contract, value, dims);
        bound.push({ tensor, value, access: contract.access });
      }
      const names: Dims = { ...dims, ...def.scalars?.(dims, flags) };
      const variant = forced
        ? def.variants.find((v) => v.name === forced)
        : def.variants.find((v) => v.when?.(target, names, flags) ?? true);
      if (!variant) throw new TypeError(`internal: ${where}: no variant ${forced ?? "fits"}`);
      const workgroup = variant.workgroup(target);
      const codegen = makeCodegen(def, target, flags, workgroup, bound, names);
      const frame = def.frame ?? false;
      const fields = target.shapes === "uniform" ? Object.entries(names) : [];
      return {
        kernel: def.name,
        variant: variant.name,
        label,
        source: variant.wgsl(codegen),
        kinds: [...bound.map(bindingKind), "uniform", ...(frame ? (["uniform"] as const) : [])],
        bound,
        frame,
        params(batch) {
          const words = new Uint32Array(Math.ceil((1 + fields.length) / 4) * 4);
          const floats = new Float32Array(words.buffer);
          words[0] = batch;
          fields.forEach(([name, v], i) => {
            if (def.floats?.includes(name)) floats[i + 1] = v;
            else words[i + 1] = v;
          });
          return words;
        },
        grid: (batch) => variant.grid(names, batch, workgroup, flags),
        cost: (batch) => def.cost(names, batch, flags),
      };
    },
  };
}

/** A grid for `count` independent threads, folded into two axes because one axis ends at 65,535 workgroups. */
export function linearGrid(count: number, workgroup: number): Grid {
  const groups = Math.max(1, Math.ceil(count / workgroup));
  const x = Math.min(groups, 32768);
  return [x, Math.ceil(groups / x), 1];
}

/** The linear thread index that belongs to {@link linearGrid}; needs the builtins wg, groups and lane in scope. */
export const LINEAR_INDEX = "(wg.y * groups.x + wg.x) * WG + lane";

/** Signature of `main` with the builtins that {@link LINEAR_INDEX} needs. */
export const mainLinear = (workgroup: number): string => `const WG = ${workgroup}u;
@compute @workgroup_size(${workgroup})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32)`;

export type { BindingKind };
