/**
 * Taps: the outputs of a network's modules, under the checkpoint's own names, for finding the module in which two
 * implementations part. A module's output is the value of its name, or else the last one that was made inside it.
 */
import type { Graph } from "../kernels/graph.ts";
import type { Value } from "../runtime/values.ts";
import type { ExpectedTensor } from "../weights/match.ts";
import type { Naming } from "./naming.ts";
import type { TensorForm } from "./readback.ts";

export interface Tap {
  /** The module's path. */
  readonly name: string;
  readonly value: Value;
  readonly form: TensorForm;
}

/** What is made by tables, and by resampling without weights: modules without parameters of their name. */
const WEIGHTLESS = /\.take$|(?<=samplers\.0)\.(upsample|avgPool)$/;

/** The paths of all modules that have parameters, or modules that have some. */
function modulesOf(params: readonly ExpectedTensor[]): Set<string> {
  const found = new Set<string>();
  for (const { name } of params)
    for (let at = name.lastIndexOf("."); at > 0; at = name.lastIndexOf(".", at - 1)) found.add(name.slice(0, at));
  return found;
}

/**
 * Values of a graph that are the outputs of modules, in the order in which they are made, under diffusers' names.
 * @param params of the whole network
 * @param more modules that have none
 */
export function moduleOutputs(
  graph: Graph,
  params: readonly ExpectedTensor[],
  form: (name: string) => TensorForm,
  more: Iterable<string> = [],
): Tap[] {
  const modules = new Set([...modulesOf(params), ...more]);
  return graph.nodes.flatMap((node) => {
    // A norm with scale and shift is not what the module of that name returns.
    if ("gamma" in node && "emb" in node && node.emb) return [];
    const { name } = node.y;
    const bare = name.replace(WEIGHTLESS, "");
    const weightless = bare !== name && (name.endsWith(".take") || !modules.has(bare));
    return weightless || modules.has(name) ? [{ name: bare, value: node.y, form: form(bare) }] : [];
  });
}

/**
 * @param outputs under diffusers' names, in the order in which they are made
 * @param wanted modules, by the checkpoint's paths; those that the network does not have are left out. Default: all that
 * have a value of their own name
 * @returns taps under the checkpoint's names
 */
export function selectTaps(outputs: readonly Tap[], naming: Naming, wanted?: readonly string[]): Tap[] {
  const all = outputs.map((tap) => ({ ...tap, name: naming.module(tap.name) }));
  const exact = new Map(all.map((tap) => [tap.name, tap]));
  if (!wanted) return [...exact.values()];
  return wanted.flatMap((name) => {
    const found = exact.get(name) ?? all.findLast((tap) => tap.name.startsWith(`${name}.`));
    return found ? [{ ...found, name }] : [];
  });
}

/** Makes values outputs of the graphs that make them, so that fusion and the reuse of memory leave them alone. */
export function pinValues(graphs: readonly Graph[], values: readonly Value[]): void {
  const pinned = new Set(values);
  for (const graph of graphs)
    for (const { y } of graph.nodes) if (pinned.has(y) && !graph.outputs.includes(y)) graph.output(y);
}
