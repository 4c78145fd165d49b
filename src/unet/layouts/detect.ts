/** Which layout a checkpoint is in: told by the names of its tensors, so that a missing or foreign one changes nothing. */
import { FileError } from "../../runtime/errors.ts";
import { diffusers } from "./diffusers.ts";
import { ermongroup } from "./ermongroup.ts";
import { ldm } from "./ldm.ts";
import { openai } from "./openai.ts";
import type { Layout } from "./types.ts";

export const layouts: readonly Layout[] = [diffusers, ermongroup, openai, ldm];

export interface DetectedLayout {
  readonly layout: Layout;
  /** For messages: the layout's title and what told it. */
  readonly reason: string;
}

/** Networks that this package does not run, by names that only they have. */
const FOREIGN: readonly (readonly [pattern: RegExp, what: string])[] = [
  [/^(downs|ups)\.\d+\.\d+\.ds_conv\./, "the ConvNeXt UNet of the Annotated Diffusion notebook"],
  [/^(model\.)?(downs|ups)\.\d+\.\d+\.block1\.proj\./, "a UNet of lucidrains' denoising-diffusion-pytorch or its kin"],
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
  if (most > 0) {
    const example = all.find((name) => layout.tensors.test(name));
    return { layout, reason: `${layout.title} because ${most} of ${all.length} tensors are named like ${example}` };
  }
  const foreign = FOREIGN.find(([pattern]) => all.some((name) => pattern.test(name)));
  const found = foreign
    ? `holds ${foreign[1]}`
    : `is in no layout that is known: it has ${all.slice(0, 3).join(", ")}, …`;
  throw new FileError(file, `${found}; supported are UNets in ${layouts.map(({ title }) => title).join(", ")}`);
}
