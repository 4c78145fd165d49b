/** The ways of generating an operation's kernels that the laboratory compares: the device's own, and departures from it. */
import { targetFor } from "../../src/kernels/target.ts";
import type { Device } from "../../src/runtime/device.ts";
import { UsageError } from "../../src/runtime/errors.ts";
import type { Target } from "../../src/runtime/kernel.ts";

export interface KernelVariant {
  readonly name: string;
  readonly target: Target;
}

const PLAIN = { storage: "buffer", lanes: 0 } as const;

/** What every device can be asked for by name. */
export const variantNames = ["own", "const", "uniform", "buffer", "texture", "direct", "gpu"] as const;
type VariantName = (typeof variantNames)[number];

function departure(name: VariantName): Partial<Target> {
  switch (name) {
    case "own":
      return {};
    case "const":
    case "uniform":
      return { shapes: name };
    case "buffer":
    case "texture":
      return { storage: name };
    case "direct":
      return { ...PLAIN, software: true };
    case "gpu":
      return { ...PLAIN, software: false, shapes: "const" };
  }
}

/** Every variant that has a name. */
export const namedVariants = (device: Device): KernelVariant[] =>
  variantNames.map((name) => ({ name, target: { ...targetFor(device), ...departure(name) } }));

const CHOICES: Readonly<Record<string, readonly string[]>> = {
  shapes: ["const", "uniform"],
  storage: ["buffer", "texture"],
  software: ["true", "false"],
};

/**
 * A variant by its name, or by what it changes of the device's own: `storage=buffer,shapes=const`.
 * @throws UsageError
 */
export function parseVariant(text: string, device: Device): KernelVariant {
  const own = targetFor(device);
  if ((variantNames as readonly string[]).includes(text))
    return { name: text, target: { ...own, ...departure(text as VariantName) } };
  const changes = text.split(",").map((part) => {
    const [key = "", value = ""] = part.split("=");
    const current = (own as unknown as Record<string, unknown>)[key];
    const fits = typeof current === "number" ? /^\d+$/.test(value) : (CHOICES[key] ?? [value]).includes(value);
    if (current === undefined || value === "" || !fits)
      throw new UsageError(
        "variant",
        `--variant ${text}: expected one of ${variantNames.join(", ")}, or changes of ${Object.entries(own)
          .map(([name, is]) => `${name}=${is}`)
          .join(",")}`,
      );
    return [key, typeof current === "number" ? Number(value) : typeof current === "boolean" ? value === "true" : value];
  });
  return { name: text, target: { ...own, ...Object.fromEntries(changes) } };
}
