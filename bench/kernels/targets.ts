/** The ways of generating an operation's kernels that the laboratory compares: the device's own, and departures from it. */
import { METHODS } from "../../src/kernels/methods.ts";
import { targetFor } from "../../src/kernels/target.ts";
import type { Device } from "../../src/runtime/device.ts";
import { UsageError } from "../../src/runtime/errors.ts";
import type { ConvMethod, Target } from "../../src/runtime/kernel.ts";

export interface NamedTarget {
  readonly name: string;
  readonly target: Target;
}

const PLAIN = { storage: "buffer", lanes: 0 } as const;

/** What every device can be asked for by name. */
export const targetNames = ["own", "const", "uniform", "buffer", "texture", "direct", "gpu"] as const;
type TargetName = (typeof targetNames)[number];

function departure(name: TargetName): Partial<Target> {
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

/** Every target that has a name. */
export const namedTargets = (device: Pick<Device, "capabilities">): NamedTarget[] =>
  targetNames.map((name) => ({ name, target: { ...targetFor(device), ...departure(name) } }));

const CHOICES: Readonly<Record<string, readonly string[]>> = {
  shapes: ["const", "uniform"],
  storage: ["buffer", "texture"],
  software: ["true", "false"],
  conv2d: METHODS.conv2d,
};

/**
 * A target by its name, or by what it changes of the device's own: `storage=buffer,conv2d=gather`.
 * @throws UsageError
 */
export function parseTarget(text: string, device: Pick<Device, "capabilities">): NamedTarget {
  const own = targetFor(device);
  // The method is of no effect where there is but one.
  const choices: Readonly<Record<string, unknown>> = { ...own, conv2d: "gather" };
  if ((targetNames as readonly string[]).includes(text))
    return { name: text, target: { ...own, ...departure(text as TargetName) } };
  const changes = text.split(",").map((part) => {
    const [key = "", value = ""] = part.split("=");
    const current = choices[key];
    const fits = typeof current === "number" ? /^\d+$/.test(value) : (CHOICES[key] ?? [value]).includes(value);
    if (current === undefined || typeof current === "object" || value === "" || !fits)
      throw new UsageError(
        "variant",
        `--variant ${text}: expected one of ${targetNames.join(", ")}, or changes of ${Object.entries(choices)
          .filter(([, is]) => is !== undefined && typeof is !== "object")
          .map(([name, is]) => `${name}=${is}`)
          .join(",")}`,
      );
    return [key, typeof current === "number" ? Number(value) : typeof current === "boolean" ? value === "true" : value];
  });
  const { conv2d, ...rest } = Object.fromEntries(changes) as Partial<Target> & { conv2d?: ConvMethod };
  return { name: text, target: { ...own, ...rest, methods: conv2d ? { ...own.methods, conv2d } : own.methods } };
}
