/** An autoencoder for the length of one command: whatever happens, everything on the GPU is freed again. */
import { InvalidArgumentError } from "commander";
import { Autoencoder } from "../autoencoder/autoencoder.ts";
import type { AutoencoderModel } from "../autoencoder/open.ts";
import { openAutoencoder } from "../node/model.ts";
import { type CommonFlags, OUTPUT_FLAGS } from "./flags.ts";
import type { Terminal } from "./io.ts";
import { unknownOf, withModelFiles } from "./modelFlag.ts";
import type { Progress } from "./progress.ts";
import { withDevice } from "./session.ts";

const UNITS: Readonly<Record<string, number>> = { "": 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** A number of bytes, such as 512M or 2G. */
export function byteCount(text: string): number {
  const [, digits, unit = ""] = /^(\d+(?:\.\d+)?)([kmg]?)(?:i?b)?$/i.exec(text) ?? [];
  const bytes = Math.floor(Number(digits) * (UNITS[unit.toLowerCase()] as number));
  if (!(bytes > 0)) throw new InvalidArgumentError("expected a number of bytes such as 512M or 2G");
  return bytes;
}

/** Of commands that work with an autoencoder alone. */
export const FIRST_STAGE_FLAGS = [
  ...(["model", "config", "variant", "ignoreUnknown", "dtype", "precision", "device", "nonFinite"] as const),
  ...OUTPUT_FLAGS,
] as const satisfies (keyof CommonFlags)[];

export type FirstStageFlags = Pick<CommonFlags, (typeof FIRST_STAGE_FLAGS)[number]>;

/** The autoencoder of `-m`; says on stderr what was assumed. */
export async function openFirstStage(
  terminal: Terminal,
  flags: Pick<FirstStageFlags, "model" | "config" | "variant" | "ignoreUnknown">,
): Promise<AutoencoderModel> {
  const { signal } = terminal.io;
  const { variant } = flags;
  const model = await withModelFiles(terminal, flags, (source) =>
    openAutoencoder(source, { signal, variant, unknown: unknownOf(flags) }),
  );
  terminal.warn(model.warnings);
  return model;
}

export function withAutoencoder<T>(
  terminal: Terminal,
  flags: FirstStageFlags & { memory?: number },
  model: AutoencoderModel,
  use: (autoencoder: Autoencoder, progress: Progress) => Promise<T>,
): Promise<T> {
  return withDevice(terminal, flags, model.checkpoint.source, undefined, async (device, progress) => {
    using autoencoder = new Autoencoder(model, device, {
      dtype: flags.dtype === "f16" ? "f16" : "f32",
      precision: flags.precision,
      memory: flags.memory,
      nonFinite: flags.nonFinite,
      onWarning: (text) => terminal.warn([text]),
      onProgress: ({ loaded, total }) => progress.show("loading %", Math.floor((100 * loaded) / total), 100),
    });
    progress.show("coding");
    return await use(autoencoder, progress);
  });
}
