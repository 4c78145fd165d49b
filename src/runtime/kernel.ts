/**
 * A kernel is data: named tensors with named dimensions, scalars, variants. `lower()` unifies the dimensions with real
 * values, chooses a variant, generates the binding header with the accessors that hide storage and dtype, and returns a
 * `KernelCall`: everything that a program needs to replay the dispatch at any batch size.
 *
 * Dimensions and scalars are constants in the source where compiling is cheap, or fields of a uniform where a pipeline
 * costs seconds to compile and a few must serve every layer (`target.shapes`). Kernel bodies cannot tell: after
 * `${k.prelude}` the names are in scope. The batch N is never source.
 */
import { bindingKinds, makeCodegen, storesHalf } from "./codegen.ts";
import type { BoundValue, Dims, Flags, Grid, Kernel, KernelDef, Target } from "./contract.ts";
import { ShapeError } from "./errors.ts";
import { OVERFLOW } from "./overflow.ts";
import { channelGroups, type Value } from "./values.ts";

export type * from "./contract.ts";

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

/** Devices of the specification's least have room for what the largest convolutions bind, and no more. */
function roomForOverflow({ storageBuffers = 8 }: Target, bound: readonly BoundValue[]): boolean {
  return bound.filter(({ value }) => value.storage === "buffer").length < storageBuffers;
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
      const recorded = bound.some(storesHalf) && roomForOverflow(target, bound);
      if (recorded) bound.push({ tensor: "overflow", value: OVERFLOW, access: "atomic" });
      const names: Dims = { ...dims, ...def.scalars?.(dims, flags) };
      const variant = forced
        ? def.variants.find((v) => v.name === forced)
        : def.variants.find((v) => v.when?.(target, names, flags) ?? true);
      if (!variant) throw new TypeError(`internal: ${where}: no variant ${forced ?? "fits"}`);
      const workgroup = variant.workgroup(target);
      const { maxThreads = 256 } = target;
      if (workgroup > maxThreads)
        throw new TypeError(`internal: ${where}: ${variant.name} has ${workgroup} threads of at most ${maxThreads}`);
      const kinds = bindingKinds(bound, target);
      let source: string | undefined;
      const frame = def.frame ?? false;
      const fields = target.shapes === "uniform" ? Object.entries(names) : [];
      return {
        kernel: def.name,
        variant: variant.name,
        label,
        // Written when it is asked for: sizes, costs and memory plans of a network do without.
        get source() {
          source ??= variant.wgsl(makeCodegen(def, target, flags, variant, bound, kinds, names));
          return source;
        },
        kinds: [...kinds, "uniform", ...(frame ? (["uniform"] as const) : [])],
        bound,
        frame,
        parts: variant.parts,
        params(batch, offsetOf = () => 0, dispatch = 0, first = 0) {
          const textures = bound.filter(({ value }) => value.storage === "texture");
          const last = [
            ...textures.map(({ value }) => offsetOf(value)),
            ...(recorded ? [dispatch] : []),
            ...(variant.parts ? [first] : []),
          ];
          const words = new Uint32Array(Math.ceil((1 + fields.length + last.length) / 4) * 4);
          const floats = new Float32Array(words.buffer);
          words[0] = batch;
          fields.forEach(([name, v], i) => {
            if (def.floats?.includes(name)) floats[i + 1] = v;
            else words[i + 1] = v;
          });
          words.set(last, 1 + fields.length);
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
