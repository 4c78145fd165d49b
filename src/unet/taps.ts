/**
 * Taps: the outputs of a network's modules, under the checkpoint's own names, for finding the module in which two
 * implementations part. A module's output is the value of its name, or else the last one that was made inside it.
 */
import type { Naming } from "../network/naming.ts";
import type { TensorForm } from "../network/readback.ts";
import type { Graph } from "../runtime/graph.ts";
import type { Value } from "../runtime/values.ts";
import type { Network } from "./build.ts";
import type { UNetSpec } from "./spec.ts";

export interface Tap {
  /** The module's path in the checkpoint. */
  readonly name: string;
  readonly value: Value;
  readonly form: TensorForm;
}

/** What is made by tables, and by resampling without weights: modules without parameters of their name. */
const WEIGHTLESS = /\.rows$|(?<=samplers\.0)\.(upsample|avgPool)$/;

/** Every path above some paths. */
function ancestors(paths: Iterable<string>): Set<string> {
  const found = new Set<string>();
  for (const path of paths)
    for (let at = path.lastIndexOf("."); at > 0; at = path.lastIndexOf(".", at - 1)) found.add(path.slice(0, at));
  return found;
}

/** diffusers' name of the module that makes what the class embedding is made of. */
const CLASS_INPUT: Partial<Record<UNetSpec["classes"]["kind"], string>> = {
  identity: "class_embedding",
  // The module of the timestep's sinusoids, used again: its last output counts.
  timestep: "time_proj",
};

/** Values that are the outputs of modules, in the order in which they are made, under diffusers' names. */
function* moduleOutputs(network: Network, spec: UNetSpec): Generator<Tap> {
  const modules = ancestors(network.params.map(({ name }) => name));
  const outputs = function* (graph: Graph, form: (name: string) => TensorForm) {
    for (const node of graph.nodes) {
      // A norm with scale and shift is not what the module of that name returns.
      if (node.op === "groupNorm" && node.emb) continue;
      const { name } = node.y;
      const bare = name.replace(WEIGHTLESS, "");
      const weightless = bare !== name && (name.endsWith(".rows") || !modules.has(bare));
      const module = bare === "class_proj" ? (CLASS_INPUT[spec.classes.kind] ?? bare) : bare;
      if (weightless || modules.has(name)) yield { name: module, value: node.y, form: form(module) };
    }
  };
  yield* outputs(network.embed, () => "vector");
  yield* outputs(network.main, (name) => (name.includes(".transformer_blocks.") ? "tokens" : "image"));
}

/**
 * @param wanted modules, by the checkpoint's paths; those that the network does not have are left out. Default: all that
 * have a value of their own name.
 */
export function findTaps(network: Network, spec: UNetSpec, naming: Naming, wanted?: readonly string[]): Tap[] {
  const exact = new Map<string, Tap>();
  const all = [...moduleOutputs(network, spec)].map((tap) => ({ ...tap, name: naming.module(tap.name) }));
  for (const tap of all) exact.set(tap.name, tap);
  if (!wanted) return [...exact.values()];
  return wanted.flatMap((name) => {
    const found = exact.get(name) ?? all.findLast((tap) => tap.name.startsWith(`${name}.`));
    return found ? [{ ...found, name }] : [];
  });
}
