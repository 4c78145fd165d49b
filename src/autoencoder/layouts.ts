/** Where an autoencoder's parameters are in the checkpoints that publishers made of it. */
import { ermongroupNaming } from "../network/ermongroupNames.ts";
import { diffusersNaming, type Naming } from "../network/naming.ts";
import { FileError } from "../runtime/errors.ts";
import type { ExpectedTensor } from "../weights/match.ts";
import type { AutoencoderSpec } from "./spec.ts";

export interface AutoencoderLayout {
  readonly naming: Naming;
  /** Tensors that the checkpoint may hold besides. */
  readonly ignore?: RegExp;
  /** For messages: the layout's title and what told it. */
  readonly reason: string;
}

/** An autoencoder within a whole model of latent-diffusion. */
const WHOLE = "first_stage_model.";

const DIFFUSERS = /^(encoder|decoder)\.(down_blocks|mid_block|up_blocks)\./;
const LDM = /^(first_stage_model\.)?(encoder|decoder)\.(down|mid|up)\./;

const HALF = /^(encoder|decoder)\.(.+)$/;

/** Encoder and decoder of taming-transformers under a prefix; quant_conv and its kin have the same name everywhere. */
function ldmNaming(spec: AutoencoderSpec, prefix: string): Naming {
  const inner = ermongroupNaming(spec.up.length);
  return {
    module(path) {
      const [, half, rest] = HALF.exec(path) ?? [];
      return prefix + (half && rest ? `${half}.${inner.module(rest)}` : path);
    },
    locate({ name, shape }: ExpectedTensor) {
      const [, half, rest] = HALF.exec(name) ?? [];
      if (!half || !rest) return { name: prefix + name, shape };
      const source = inner.locate({ name: rest, shape });
      return { ...source, name: `${prefix}${half}.${source.name}` };
    },
  };
}

/**
 * The spelling of a checkpoint that belongs to a configuration.
 * @param place of the autoencoder in its checkpoint: "diffusers", or in the layout of latent-diffusion, alone or within a whole model
 */
export const configuredNaming = (spec: AutoencoderSpec, place: "diffusers" | "alone" | "whole"): Naming =>
  place === "diffusers" ? diffusersNaming : ldmNaming(spec, place === "whole" ? WHOLE : "");

/**
 * The layout that a checkpoint's tensors are named in.
 * @param file named in errors
 * @throws FileError when there is no autoencoder
 */
export function detectLayout(file: string, names: Iterable<string>, spec: AutoencoderSpec): AutoencoderLayout {
  const all = [...names];
  const named = (pattern: RegExp) => all.find((name) => pattern.test(name));
  const ours = named(DIFFUSERS);
  if (ours) return { naming: diffusersNaming, reason: `the layout of diffusers because a tensor is named ${ours}` };
  const example = named(LDM);
  if (!example)
    throw new FileError(file, `holds no autoencoder that is known: it has ${all.slice(0, 3).join(", ")}, …`);
  const whole = example.startsWith(WHOLE);
  return {
    naming: ldmNaming(spec, whole ? WHOLE : ""),
    // Beside the losses' networks, a checkpoint of its own may hold a moving average, and a whole model has everything else.
    ignore: whole ? /^(?!first_stage_model\.)|^first_stage_model\.loss\./ : /^(loss|model_ema)\./,
    reason: `the layout of latent-diffusion because a tensor is named ${example}`,
  };
}
