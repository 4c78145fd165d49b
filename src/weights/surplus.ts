/** Tensors that a checkpoint holds beside a network's parameters although they compute nothing. */
import { AVERAGES, COUNTERS } from "./names.ts";
import type { TensorInfo } from "./safetensors.ts";

type Named = Pick<TensorInfo, "name" | "shape">;

/** Buffers that frameworks save with the weights. */
const BUFFERS: readonly (readonly [what: string, pattern: RegExp])[] = [
  ["num_batches_tracked", /(^|\.)num_batches_tracked$/],
  ["attention masks", /(^|\.)((causal_)?(attn|attention)_mask|causal_mask|masked_bias|attn\.mask)$/],
  ["position_ids", /(^|\.)position_ids$/],
];

/** A parameter's name within an average: its own, or that of LitEma, which takes the dots out. */
const averaged = (prefix: string, name: string) => [
  `${prefix}${name}`,
  prefix + name.replace(/^model\./, "").replaceAll(".", ""),
];

/** The names of a whole copy of the parameters below a prefix; of a part of one, none. */
function wholeCopy(tensors: ReadonlyMap<string, TensorInfo>, prefix: string, expected: readonly Named[]): Set<string> {
  const copy = new Set<string>();
  for (const { name, shape } of expected) {
    const found = averaged(prefix, name).find((own) => tensors.get(own)?.shape.join() === shape.join());
    if (found === undefined) return new Set();
    copy.add(found);
  }
  for (const name of COUNTERS) if (tensors.has(prefix + name)) copy.add(prefix + name);
  return copy;
}

/**
 * Which kinds of tensors that mean nothing some names are of.
 * @param expected the network's parameters, as the checkpoint names them
 * @returns how many there are of each kind, and the names that are of none
 */
export function sortSurplus(
  names: readonly string[],
  tensors: ReadonlyMap<string, TensorInfo>,
  expected: readonly Named[],
): { harmless: ReadonlyMap<string, number>; unknown: readonly string[] } {
  const copies = AVERAGES.map((prefix) => [prefix, wholeCopy(tensors, prefix, expected)] as const);
  const harmless = new Map<string, number>();
  const kindOf = (name: string): string | undefined => {
    if (tensors.get(name)?.shape.includes(0)) return "without values";
    const average = copies.find(([, copy]) => copy.has(name));
    return average ? `of a moving average (${average[0]}*)` : BUFFERS.find(([, pattern]) => pattern.test(name))?.[0];
  };
  const unknown = names.filter((name) => {
    const kind = kindOf(name);
    if (kind !== undefined) harmless.set(kind, (harmless.get(kind) ?? 0) + 1);
    return kind === undefined;
  });
  return { harmless, unknown };
}
