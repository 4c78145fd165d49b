/** Which layout a checkpoint is in: told by the names of its tensors, so that a missing or foreign one changes nothing. */
import { ConfigError, FileError } from "../../runtime/errors.ts";
import { denoising } from "./denoising.ts";
import { diffusers, toldBy } from "./diffusers.ts";
import { ermongroup } from "./ermongroup.ts";
import { ldm } from "./ldm.ts";
import { openai } from "./openai.ts";
import type { DetectedLayout, Layout } from "./types.ts";

export const layouts: readonly Layout[] = [diffusers, ermongroup, openai, ldm, denoising];

/** Networks that this package does not run, by names that only they have. */
const FOREIGN: readonly (readonly [pattern: RegExp, what: string])[] = [
  [/^(module\.)?all_modules\.\d+\./, "a network of score_sde (NCSN++, DDPM++)"],
  [/^(model\.)?(enc|dec)\.\d+x\d+_/, "a network of EDM"],
  [
    /^(x_embedder\.|(blocks|transformer_blocks|joint_blocks|single_blocks)\.\d+\.)/,
    "a diffusion transformer, not a UNet",
  ],
  [/[._]lora[._]/i, "a LoRA adapter, not a network"],
  [/^(text_model|transformer)\./, "a text encoder, not a UNet"],
  [/^(first_stage_model\.)?(encoder|decoder)\./, "an autoencoder, not a UNet"],
];

/**
 * The layout that most of the tensors are named in.
 * @param file named in errors
 * @throws FileError when it is none of {@link layouts}, with the name of what it is where that is known
 */
export function detectLayout(file: string, names: Iterable<string>): DetectedLayout {
  const all = [...names];
  const counts = layouts.map((layout) => all.filter((name) => layout.tensors.test(name)).length);
  const most = Math.max(...counts);
  const layout = layouts[counts.indexOf(most)] as Layout;
  if (most > 0) return { layout, reason: toldBy(layout, all) };
  const foreign = FOREIGN.find(([pattern]) => all.some((name) => pattern.test(name)));
  const found = foreign
    ? `holds ${foreign[1]}`
    : `is in no layout that is known: it has ${all.slice(0, 3).join(", ")}, …`;
  throw new FileError(file, `${found}; supported are UNets in ${layouts.map(({ title }) => title).join(", ")}`);
}

/** A configuration of another family than its checkpoint tells little: say so, rather than that its keys are unknown. */
export function checkFamily(
  json: Readonly<Record<string, unknown>>,
  file: string,
  { layout, reason }: DetectedLayout,
): void {
  const family = layout.configures(json) ? undefined : layouts.find((other) => other.configures(json));
  if (family)
    throw new ConfigError(file, "(root)", `belongs to ${family.title}, but the checkpoint beside it is in ${reason}`);
}
