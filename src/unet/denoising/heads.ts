/** Which attention every level has: told by the names and shapes of its tensors where that is possible. */
import { type ConfigReader, MOST } from "../../network/configReader.ts";
import { shown } from "../../runtime/printable.ts";
import type { AttentionInit } from "./blocks.ts";
import type { Shapes, Traits } from "./traits.ts";

const isCount = (v: unknown): v is number => Number.isInteger(v) && (v as number) >= 1;

/** One value for every level, or a list with one for each. */
function perLevel(r: ConfigReader, key: string, fallback: number, levels: number): readonly number[] {
  const value = r.get(key) ?? fallback;
  const list = Array.isArray(value) ? value : Array.from({ length: levels }, () => value);
  if (list.length !== levels || !list.every(isCount))
    r.fail(key, `expected a whole number from 1, or a list of ${levels}, got ${shown(value)}`);
  for (const each of list) r.within(key, each, MOST.channels);
  return list;
}

function flags(r: ConfigReader, levels: number): readonly boolean[] {
  const value = r.get("full_attn") ?? null;
  if (value === null || value === false) return Array.from({ length: levels }, (_, i) => i === levels - 1);
  const list = Array.isArray(value) ? value : Array.from({ length: levels }, () => value);
  if (list.length !== levels || !list.every((v) => typeof v === "boolean"))
    r.fail("full_attn", `expected true, false or a list of ${levels}, got ${shown(value)}`);
  return list;
}

export interface Attentions {
  /** By the place of the level, from the finest on. */
  down(level: number): AttentionInit;
  up(level: number): AttentionInit;
  readonly middle: AttentionInit;
  linear(module: string): boolean;
  memoryShape(module: string): readonly number[];
}

/** Learned tokens of denoising-diffusion-pytorch, which no argument of its network changes. */
const MEMORY = 4;

export function attentionReader(
  r: ConfigReader,
  shapes: Shapes,
  traits: Traits,
  levels: number,
  warn: (text: string) => void,
): Attentions {
  const given = ["attn_heads", "heads", "attn_dim_head", "dim_head"].some((key) => r.get(key) !== undefined);
  const key = (long: string, short: string) => (r.get(long) === undefined && r.get(short) !== undefined ? short : long);
  const heads = perLevel(r, key("attn_heads", "heads"), 4, levels);
  const headDims = perLevel(r, key("attn_dim_head", "dim_head"), 32, levels);
  const whole = flags(r, levels);
  const inside = (name: string) => (traits.wrapped ? `${name}.fn.fn` : name);
  const memoryOf = (name: string) => shapes.get(`${inside(name)}.mem_kv`);
  const made = new Map<string, AttentionInit>();
  const attention = (name: string, level: number, full: boolean): AttentionInit => {
    const module = inside(name);
    const told = shapes.size > 0 ? !shapes.has(`${module}.to_out.0.weight`) : full;
    const linear = !told;
    const [, count, a, b] = memoryOf(name) ?? [];
    const inner = (shapes.get(`${module}.to_qkv.weight`)?.[0] ?? 0) / 3;
    const own = { heads: count ?? (heads[level] as number), headDim: (linear ? a : b) ?? (headDims[level] as number) };
    // Heads of 32 channels are what both have where nothing is said.
    if (inner > 0 && own.heads * own.headDim !== inner && !given) own.headDim = inner / own.heads;
    if (inner > 0 && own.heads * own.headDim !== inner)
      r.fail(
        key("attn_heads", "heads"),
        `${own.heads} heads of ${own.headDim} channels are not the ${inner} of ${module}.to_qkv`,
      );
    const memory = (linear ? b : a) ?? (traits.wrapped || shapes.size > 0 ? 0 : MEMORY);
    const init = { linear, ...own, memory };
    made.set(module, init);
    return init;
  };
  const last = levels - 1;
  const downs = Array.from({ length: levels }, (_, i) =>
    attention(`downs.${i}.2`, i, !traits.wrapped && (whole[i] as boolean)),
  );
  const first = traits.skips === 1 ? 1 : 0;
  const ups = Array.from({ length: levels }, (_, i) =>
    i < first ? undefined : attention(`ups.${last - i}.2`, i, !traits.wrapped && (whole[i] as boolean)),
  );
  const middle = attention("mid_attn", last, true);
  if (!given && memoryOf("mid_attn") === undefined && shapes.size > 0)
    warn(
      `attn_heads is not given and cannot be told from the tensors: ${middle.heads} heads of ${middle.headDim} channels are assumed`,
    );
  const of = (module: string) => made.get(module) as AttentionInit;
  return {
    down: (level) => downs[level] as AttentionInit,
    up: (level) => ups[level] as AttentionInit,
    middle,
    linear: (module) => of(module).linear,
    memoryShape(module) {
      const { linear, heads: count, headDim, memory } = of(module);
      return [2, count, ...(linear ? [headDim, memory] : [memory, headDim])];
    },
  };
}
