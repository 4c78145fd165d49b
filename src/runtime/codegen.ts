/** Binding headers and accessors: how a kernel's body reaches its tensors whatever their storage and dtype. */
import type { BoundValue, Codegen, Dims, Flags, KernelDef, Target, Variant } from "./contract.ts";
import { frameRecord } from "./frame.ts";
import { heldFunction, OVERFLOW } from "./overflow.ts";
import { type BindingKind, storageTexture } from "./pipelines.ts";
import type { Struct } from "./struct.ts";
import { TEXTURE_SHIFT, TEXTURE_WIDTH, type Value } from "./values.ts";
import { f32, u32 } from "./wgsl.ts";

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

/**
 * How tensors are bound. Textures are read as storage textures as far as `storageTextures` goes, in the order of the
 * contract: to llvmpipe that is a fetch without mip levels, at two thirds of the time of a sampled one.
 */
export function bindingKinds(bound: readonly BoundValue[], { storageTextures = 0 }: Target): BindingKind[] {
  let left =
    storageTextures - bound.filter(({ value, access }) => value.storage === "texture" && access === "out").length;
  return bound.map(({ value, access }): BindingKind => {
    if (value.storage === "buffer") return access === "in" ? "read-only-storage" : "storage";
    const format = value.dtype === "f16" ? "rgba16float" : "rgba32float";
    if (access === "in") return left-- > 0 ? `load-${format}` : "texture";
    if (access !== "out") throw new TypeError(`internal: texture "${value.name}" cannot be read and written`);
    return `store-${format}`;
  });
}

/** Whether a kernel writes f16 there. */
export const storesHalf = ({ value, access }: BoundValue): boolean => value.dtype === "f16" && access !== "in";

/** Arrays of records that are only read come in vectors. */
const inVectors = ({ access }: BoundValue, record?: Struct): boolean => record?.isOpen === false && access === "in";

function declaration(binding: number, bound: BoundValue, kind: BindingKind, record: Struct | undefined): string {
  const { tensor, value, access } = bound;
  const at = `@group(0) @binding(${binding}) var`;
  if (kind === "texture") return `${at} ${tensor}: texture_2d<f32>;`;
  const texture = storageTexture(kind);
  if (texture)
    return `${at} ${tensor}: texture_storage_2d<${texture.format}, ${texture.access === "read-only" ? "read" : "write"}>;`;
  const storage = `${at}<storage, ${access === "in" ? "read" : "read_write"}> ${tensor}`;
  if (record && inVectors(bound, record)) return `${storage}: array<vec4u>;\n${record.reader(tensor)}`;
  const element = access === "atomic" ? "atomic<u32>" : { f32: "vec4f", f16: "vec2u", u32: "u32" }[value.dtype];
  return `${storage}: ${record?.array ?? `array<${element}>`};`;
}

export function makeCodegen<F extends Flags>(
  def: KernelDef<F>,
  target: Target,
  flags: F,
  variant: Variant<F>,
  bound: readonly BoundValue[],
  kinds: readonly BindingKind[],
  names: Dims,
): Codegen<F> {
  const sampled = new Set(bound.filter((_, i) => kinds[i] === "texture").map((b) => b.tensor));
  const by = new Map(bound.map((b) => [b.tensor, b.value]));
  const vectors = new Set(bound.filter((b) => inVectors(b, def.records?.[b.tensor])).map((b) => b.tensor));
  const isFloat = (name: string) => def.floats?.includes(name) ?? false;
  const uniform = target.shapes === "uniform" ? Object.keys(names) : [];
  // Where a texture's part begins is known only when memory is planned for a batch.
  const offsets = bound.filter((b) => b.value.storage === "texture").map((b) => `AT_${b.tensor}`);
  const recorded = bound.some((b) => b.value === OVERFLOW);
  const words = ["N", ...uniform, ...offsets, ...(recorded ? ["DISPATCH"] : []), ...(variant.parts ? ["FIRST"] : [])];
  const fields = words.map((name) => `${name}: ${isFloat(name) ? "f32" : "u32"}`);
  const constants =
    target.shapes === "const"
      ? Object.entries(names).map(([n, v]) => `const ${n} = ${isFloat(n) ? f32(v) : u32(v)};`)
      : [];
  const header = [
    ...new Set(bound.flatMap(({ tensor }) => def.records?.[tensor]?.wgsl ?? [])),
    ...bound.map((b, i) => declaration(i, b, kinds[i] as BindingKind, def.records?.[b.tensor])),
    `struct Params { ${fields.join(", ")} }`,
    `@group(0) @binding(${bound.length}) var<uniform> params: Params;`,
    def.frame
      ? `${frameRecord.wgsl}\n@group(0) @binding(${bound.length + 1}) var<uniform> frame: ${frameRecord.name};`
      : "",
    ...constants,
    ...offsets.map((name) => `var<private> ${name}: u32;`),
    bound.some((b) => b.value.dtype === "f16" && b.value.storage === "buffer") ? HALF : "",
    bound.some((b) => b.value.storage === "texture") ? TEXEL : "",
    bound.some((b) => b.value.dtype === "f16" && b.value.storage === "texture" && b.access === "out") ? ROUND_HALF : "",
    bound.some(storesHalf) ? heldFunction(recorded) : "",
  ].filter(Boolean);
  const value = (tensor: string): Value => {
    const found = by.get(tensor);
    if (!found) throw new TypeError(`internal: kernel ${def.name} has no tensor ${tensor}`);
    return found;
  };
  const load = (tensor: string, index: string): string => {
    if (vectors.has(tensor)) return `${tensor}_at(${index})`;
    const { storage, dtype } = value(tensor);
    if (storage === "texture")
      return `textureLoad(${tensor}, texel(AT_${tensor} + ${index})${sampled.has(tensor) ? ", 0" : ""})`;
    return dtype === "f16" ? `unpack_half(${tensor}[${index}])` : `${tensor}[${index}]`;
  };
  return {
    flags,
    target,
    workgroup: variant.workgroup(target),
    header: header.join("\n"),
    prelude: [
      ...["N", ...uniform].map((name) => `let ${name} = params.${name};`),
      ...offsets.map((name) => `${name} = params.${name};`),
    ].join(" "),
    first: { none: "vec3u()", x: "vec3u(params.FIRST, 0u, 0u)", y: "vec3u(0u, params.FIRST, 0u)" }[
      variant.parts ?? "none"
    ],
    has: (tensor) => by.has(tensor),
    load,
    half(tensor, index) {
      const { storage, dtype } = value(tensor);
      const packed = storage === "buffer" && dtype === "f16";
      return packed ? `bitcast<vec4<f16>>(${tensor}[${index}])` : `vec4<f16>(${load(tensor, index)})`;
    },
    store(tensor, index, v) {
      const { storage, dtype } = value(tensor);
      if (storage === "texture")
        return `textureStore(${tensor}, texel(AT_${tensor} + ${index}), ${dtype === "f16" ? `round_half(held(${v}))` : v});`;
      return `${tensor}[${index}] = ${dtype === "f16" ? `pack_half(held(${v}))` : v};`;
    },
  };
}
