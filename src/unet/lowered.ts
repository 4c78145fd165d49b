/** A UNet lowered for a target: what is to be known of it before there is a batch. */
import { type Lowered, lowerGraph } from "../kernels/lower.ts";
import { distinct, type Weight } from "../kernels/weights.ts";
import { maxBatch } from "../network/limits.ts";
import { pinValues } from "../network/taps.ts";
import type { Device } from "../runtime/device.ts";
import type { KernelCall, Target } from "../runtime/kernel.ts";
import { planMemory } from "../runtime/planner.ts";
import { byteSize, type Value } from "../runtime/values.ts";
import { buildUNet, type Network, type NetworkInit } from "./build.ts";
import type { UNetSpec } from "./spec.ts";

/** A network lowered for a target: independent of batch and steps. */
export interface LoweredNetwork {
  readonly network: Network;
  readonly main: Lowered;
  readonly embed: Lowered;
  /** Keys and values of attention to the context, once per run. */
  readonly context: Lowered | null;
  /** Of all parts together. */
  readonly calls: readonly KernelCall[];
  readonly weights: readonly Weight[];
}

/** @param pin values inside the network that shall be outputs too, and so be there after an evaluation */
export function lowerNetwork(
  spec: UNetSpec,
  target: Target,
  init: Omit<NetworkInit, "storage">,
  pin?: (network: Network) => readonly Value[],
): LoweredNetwork {
  const network = buildUNet(spec, { ...init, storage: target.storage, tapped: pin !== undefined });
  if (pin) pinValues([network.main, network.embed], pin(network));
  const [main, embed] = [network.main, network.embed].map((graph) => lowerGraph(graph, target)) as [Lowered, Lowered];
  const context = network.context && lowerGraph(network.context.graph, target);
  const parts = [main, embed, ...(context ? [context] : [])];
  const calls = parts.flatMap((part) => part.calls);
  const weights = [...distinct(parts.flatMap((part) => part.weights)).values()];
  return { network, main, embed, context, calls, weights };
}

/** Values that an evaluation keeps beside the table, for every image. */
export function keptValues({ sample, concat, main, embed, projections, context }: Network): Value[] {
  const embedded = embed.outputs.filter((value) => value !== projections);
  const given = [sample, ...(concat ? [concat] : [])];
  return [...given, ...main.outputs, ...embedded, ...(context ? [context.input, ...context.graph.outputs] : [])];
}

/** Bytes that an evaluation of a batch takes beside the weights. */
export function plannedBytes({ network, main }: LoweredNetwork, batch: number): { bytes: number; lowerBound: number } {
  const kept = keptValues(network);
  const external = new Set([...kept, network.table, ...main.weights.map(({ value }) => value)]);
  const plan = planMemory(main.calls, external, batch);
  const state = kept.reduce((sum, value) => sum + byteSize(value, batch), 0);
  return { bytes: plan.bytes + state, lowerBound: plan.lowerBound + state };
}

/** Largest batch that the device's bindings allow for any one value of the network. */
export function batchLimit(device: Device, { main, context }: LoweredNetwork): number {
  return maxBatch(device, [...main.calls, ...(context?.calls ?? [])]);
}
