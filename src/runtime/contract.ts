/** The shapes of a kernel as data: what a definition says, what its body is written against, what a dispatch needs. */
import type { BindingKind } from "./pipelines.ts";
import type { Struct } from "./struct.ts";
import type { Storage, Value } from "./values.ts";

/** A product that subgroups do in hardware: [m, k]·[k, n] with f16 operands and f32 sums, by `lanes` threads together. */
export interface MatrixTile {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly lanes: number;
}

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
  /** What its matrix units multiply, if it has any that kernels may use. */
  readonly matrix?: MatrixTile;
  /** Most threads of a workgroup; absent: 256, as the specification has it. */
  readonly maxThreads?: number;
  /** Most storage textures that a kernel may bind, for reading too; absent: textures are sampled. */
  readonly storageTextures?: number;
  /** Most storage buffers that a kernel may bind; absent: the specification's 8. */
  readonly storageBuffers?: number;
  /** Absent: by size. Only software adapters have a choice. */
  readonly methods?: Methods;
}

export type ConvMethod = "gather" | "winograd";
export type AttentionMethod = "products" | "broadcast" | "direct";

/** Ways of doing the same that differ in speed and in the last digits. */
export interface Methods {
  /** Wherever it is possible. `gather` keeps the digits that Winograd's method rounds. */
  readonly conv2d?: ConvMethod;
  readonly attention?: AttentionMethod;
  /** Elsewhere: what was measured to be quickest, by operation and shape of one image (kernels/methods.ts). */
  readonly measured?: Readonly<Record<string, string>>;
  /** Keys of weights in a form that no other can be made of: layers that have them keep their method at every size. */
  readonly held?: ReadonlySet<string>;
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
  /** Expression: the vec4f (or u32, or record) at a linear index. */
  load(tensor: string, index: string): string;
  /** Expression: the vec4<f16> at a linear index, in kernels that enable f16. */
  half(tensor: string, index: string): string;
  /** Statement: writes a vec4f (or u32) at a linear index. */
  store(tensor: string, index: string, value: string): string;
  /** Expression: the vec3u of the dispatch's first workgroup, to be added to `workgroup_id`; see {@link Variant.parts}. */
  readonly first: string;
}

/** Axis of a grid. */
export type Axis = "x" | "y";

export interface Variant<F extends Flags> {
  readonly name: string;
  /** Whether this variant can run for the target and sizes; absent: always. Never depends on N. */
  when?(target: Target, dims: Dims, flags: F): boolean;
  /** Threads along x. */
  workgroup(target: Target): number;
  grid(dims: Dims, batch: number, workgroup: number, flags: F): Grid;
  /**
   * Axis along which the grid may be done in several dispatches, for work that lasts too long for one. Workgroups must
   * know nothing of each other, and the body must count from {@link Codegen.first}.
   */
  readonly parts?: Axis;
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
  /** Tensors that hold records. */
  readonly records?: Readonly<Record<string, Struct>>;
  /** Whether the kernel reads `frame` (src/runtime/frame.ts), which tells evaluations apart. */
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
  /** Axis along which the dispatch may be done in parts. */
  readonly parts?: Axis;
  /**
   * Contents of the params uniform.
   * @param offsetOf first texel of a value that lies in a texture; default: 0 for all
   * @param dispatch its place in its program (0), under which it records overflows
   * @param first workgroup on the axis of `parts`
   */
  params(
    batch: number,
    offsetOf?: (value: Value) => number,
    dispatch?: number,
    first?: number,
  ): Uint32Array<ArrayBuffer>;
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
