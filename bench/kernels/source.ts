/** The WGSL of one case without a GPU: what a device of given limits would compile, with everything that it binds. */
import { lowerOps } from "../../src/kernels/lower.ts";
import type { Form } from "../../src/kernels/weights.ts";
import type { Capabilities } from "../../src/runtime/capabilities.ts";
import { UsageError } from "../../src/runtime/errors.ts";
import type { KernelCall, MatrixTile, Target } from "../../src/runtime/kernel.ts";
import { OVERFLOW } from "../../src/runtime/overflow.ts";
import type { Value } from "../../src/runtime/values.ts";
import type { Problem, StoredDType } from "../../test/support/problems.ts";
import { formatWgsl } from "./format.ts";

/**
 * Devices that nobody has to have. `gpu`: what a desktop's GPU offers through Dawn. `software`: llvmpipe on a processor
 * with AVX2, as `openNodeDevice` opens it.
 */
export const adapters = {
  gpu: {
    software: false,
    subgroupSize: 32,
    timestamps: true,
    maxThreads: 1024,
    storageTextures: 8,
    storageBuffers: 10,
  },
  software: {
    software: true,
    subgroupSize: 8,
    timestamps: true,
    maxThreads: 1024,
    storageTextures: 8,
    storageBuffers: 16,
  },
} as const satisfies Readonly<Record<string, Capabilities>>;

/** Matrix units as NVIDIA's GPUs offer them. */
const MATRIX: MatrixTile = { m: 16, n: 16, k: 16, lanes: 32 };

/** @throws UsageError for another word, or matrix units where there can be none */
export function adapterOf(name: string, matrices: boolean): Capabilities {
  if (name !== "gpu" && name !== "software")
    throw new UsageError("target", `--target ${name}: expected gpu or software`);
  if (!matrices) return adapters[name];
  if (name === "software") throw new UsageError("matrices", "--matrices goes with --target gpu: processors have none");
  return { ...adapters.gpu, matrix: MATRIX };
}

export interface Binding {
  readonly group: 0;
  readonly binding: number;
  /** Name in the shader. */
  readonly name: string;
  /** Of the bind group layout. */
  readonly kind: string;
  readonly is: string;
}

/** One dispatch as it is compiled and started. */
export interface DispatchSource {
  /** `conv2d/tiled`. */
  readonly kernel: string;
  readonly workgroups: readonly [number, number, number];
  readonly bindings: readonly Binding[];
  readonly wgsl: string;
}

const FORMS: Readonly<Record<Form["kind"], string>> = {
  packed: "packed weights",
  winograd: "packed weights",
  vector: "a parameter, in stored positions",
  table: "an embedding table",
  positions: "positions of channels",
};

/** Sizes that the uniform holds; what lies where in a texture is known only when memory is planned. */
function paramsOf(call: KernelCall, batch: number): string {
  const fields = /struct Params \{([^}]*)\}/.exec(call.source)?.[1]?.split(",") ?? [];
  const words = call.params(batch);
  const floats = new Float32Array(words.buffer);
  const shown = fields.map((field, i) => {
    const [name = "", type] = field.split(":").map((part) => part.trim());
    if (name.startsWith("AT_")) return name;
    return `${name}=${type === "f32" ? Number(floats[i]?.toPrecision(7)) : words[i]}`;
  });
  return shown.join(" ");
}

/** What a case dispatches on a target, in order. */
export function sourcesOf(problem: Problem, target: Target, dtype: StoredDType): DispatchSource[] {
  const { ops, batch, inputs, output } = problem;
  const { calls, weights } = lowerOps(ops, target, dtype);
  const made = new Map(weights.map(({ value, form }) => [value, FORMS[form.kind]]));
  const role = (value: Value) => (inputs.has(value) ? "input" : value === output ? "result" : "intermediate");
  const describe = (value: Value) => {
    if (value === OVERFLOW) return "counts what f16 cannot hold";
    const shape = [...(value.batched ? [batch] : []), ...value.shape].join(", ");
    return `${made.get(value) ?? role(value)} "${value.name}", [${shape}] ${value.dtype}`;
  };
  return calls.map((call): DispatchSource => {
    const bindings = call.kinds.map((kind, binding): Binding => {
      const bound = call.bound[binding];
      const at = { group: 0, binding, kind } as const;
      if (bound) return { ...at, name: bound.tensor, is: describe(bound.value) };
      if (binding > call.bound.length) return { ...at, name: "frame", is: "the row of the plan" };
      return { ...at, name: "params", is: paramsOf(call, batch) };
    });
    const [kernel, workgroups] = [`${call.kernel}/${call.variant}`, call.grid(batch)];
    return { kernel, workgroups, bindings, wgsl: formatWgsl(call.source) };
  });
}

/** A dispatch as lines of WGSL, described in comments. */
export function printed({ kernel, workgroups, bindings, wgsl }: DispatchSource, place: string): string[] {
  const lines = bindings.map(
    ({ group, binding, name, kind, is }) => `//   ${group}.${binding} ${name}: ${kind}, ${is}`,
  );
  const head = `// ${place}: ${kernel}, ${workgroups.join(" × ")} workgroups; group.binding:`;
  return [head, ...lines, "", ...wgsl.split("\n")];
}
