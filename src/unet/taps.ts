/** The outputs of a UNet's modules. */
import type { Naming } from "../network/naming.ts";
import { moduleOutputs, selectTaps, type Tap } from "../network/taps.ts";
import type { Network } from "./build.ts";
import type { UNetSpec } from "./spec.ts";

/** diffusers' name of the module that makes what the class embedding is made of. */
const CLASS_INPUT: Partial<Record<UNetSpec["classes"]["kind"], string>> = {
  identity: "class_embedding",
  // The module of the timestep's sinusoids, used again: its last output counts.
  timestep: "time_proj",
};

/** @param wanted modules, by the checkpoint's paths; see {@link selectTaps} */
export function findTaps(network: Network, spec: UNetSpec, naming: Naming, wanted?: readonly string[]): Tap[] {
  const { embed, main, params, modules } = network;
  const embedded = moduleOutputs(embed, params, () => "vector", modules).map((tap) =>
    tap.name === "class_proj" ? { ...tap, name: CLASS_INPUT[spec.classes.kind] ?? tap.name } : tap,
  );
  const form = (name: string) => (name.includes(".transformer_blocks.") ? "tokens" : "image");
  return selectTaps([...embedded, ...moduleOutputs(main, params, form, modules)], naming, wanted);
}
