/**
 * Weights in other forms than those that are there, made of them on the GPU: what another size of a network, or one in which
 * more values are kept, wants otherwise. Positions move and shortcuts come apart without rounding; Winograd's products are
 * computed as they are from the checkpoint. Nothing can be made of those again but the same, which is why layers that have
 * them keep them (`Methods.held`).
 */
import type { Device } from "../runtime/device.ts";
import type { Target } from "../runtime/kernel.ts";
import type { GpuArray } from "../runtime/memory.ts";
import { channelPositions, type Value } from "../runtime/values.ts";
import { Packing } from "./load.ts";
import { packScalars, packWeights } from "./pack.ts";
import { packWinograd } from "./software/winograd/pack.ts";
import { NO_CHANNEL, type PackedForm, type PackedPlace, positionChannels, type Weight } from "./weights.ts";

/** The target for all sizes of a network that has these weights: what {@link deriveWeights} can make no other form of, is kept. */
export function keepFinal(target: Target, weights: ReadonlyMap<string, Weight>): Target {
  const held = new Set([...weights].flatMap(([key, { form }]) => (form.kind === "winograd" ? [key] : [])));
  return held.size > 0 ? { ...target, methods: { ...target.methods, held } } : target;
}

/** Where a parameter is packed: number `i` of those of `weight`, and there the position of every stored input position. */
interface Source {
  readonly weight: Weight<PackedForm>;
  readonly i: number;
  readonly inputs: Uint32Array<ArrayBuffer>;
}

/** Where number `i` of a weight's parameters can be taken from. @returns undefined where it is in no form for that */
export function sourceOf(
  { params, form }: Weight<PackedForm>,
  i: number,
  held: Iterable<Weight<PackedForm>>,
): Source | undefined {
  const { name } = params[i] as Weight["params"][number];
  const place = form.places[i] as PackedPlace;
  for (const weight of held) {
    if (weight.form.block !== form.block || (weight.form.kind !== form.kind && weight.form.kind !== "packed")) continue;
    for (const [j, other] of weight.form.places.entries()) {
      if (weight.params[j]?.name !== name || other.outputs.join() !== place.outputs.join()) continue;
      const there = channelPositions(other.inputs);
      const inputs = positionChannels(place.inputs, place.first).map((channel) =>
        channel === NO_CHANNEL ? channel : (there[channel - other.first] ?? NO_CHANNEL),
      );
      const wanted = place.inputs.reduce((a, b) => a + b, 0);
      if (inputs.filter((position) => position !== NO_CHANNEL).length === wanted) return { weight, i: j, inputs };
    }
  }
  return undefined;
}

/**
 * @param held packed weights that are there
 * @returns new arrays, which are the caller's
 * @throws DeviceError "out-of-memory"; nothing stays allocated
 */
export async function deriveWeights(
  device: Device,
  target: Target,
  wanted: readonly Weight<PackedForm>[],
  held: ReadonlyMap<Weight<PackedForm>, GpuArray>,
): Promise<Map<Value, GpuArray>> {
  const packing = new Packing(device, target);
  try {
    await packing.allocate(wanted);
    const sources = new Map<Value, GpuArray>();
    for (const weight of wanted)
      for (const i of weight.params.keys()) {
        const source = sourceOf(weight, i, held.keys());
        if (!source) throw new TypeError(`internal: ${weight.value.name} cannot be made of the weights that are there`);
        const { value, form } = source.weight;
        sources.set(value, held.get(source.weight) as GpuArray);
        const { O0, SPAN, AT, CP } = packScalars(form, source.i);
        const from = { FROM_O0: O0, FROM_SPAN: SPAN, FROM_AT: AT, FROM_CP: CP };
        const kernel = weight.form.kind === form.kind ? packWeights : packWinograd;
        packing.add(
          weight,
          kernel,
          "packed",
          value,
          { inputs: source.inputs },
          { ...packScalars(weight.form, i), ...from },
        );
      }
    await packing.flush(sources);
    return packing.arrays;
  } catch (error) {
    packing.dispose();
    throw error;
  }
}
