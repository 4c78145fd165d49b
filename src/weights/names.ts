/**
 * The names of a checkpoint's tensors. Attention blocks saved before diffusers 0.15 spell their projections otherwise;
 * diffusers renames them when it loads (`ModelMixin._fix_state_dict_keys_on_load`), and so do we. As there, the old
 * weights must have the new shape: matrices, not 1x1 convolutions.
 */

const RENAMED = [
  ["query", "to_q"],
  ["key", "to_k"],
  ["value", "to_v"],
  ["proj_attn", "to_out.0"],
] as const;

const PROJECTION = /((?:^|\.)attentions\.\d+\.)(.+)(\.(?:weight|bias))$/;

/** Today's name of a tensor: `mid_block.attentions.0.query.weight` is `mid_block.attentions.0.to_q.weight`. */
export function canonicalName(name: string): string {
  return rename(name, 0, 1);
}

/** The old name of a tensor, where it had another one. */
export function legacyName(name: string): string {
  return rename(name, 1, 0);
}

/** What programs put before every name: data parallel training, torch.compile, and what a training script calls its network. */
const WRAPPERS = ["module.", "_orig_mod.", "unet.", "vae.", "model."];

/** Names that begin so are those of latent-diffusion's layout, whose own the prefix is. */
const OWN = "model.diffusion_model.";

/** What stands before every single name and means nothing; "" where there is no such thing. */
function wrapperPrefix(names: readonly string[]): string {
  let prefix = "";
  for (;;) {
    if (names.some((name) => name.startsWith(prefix + OWN))) return prefix;
    const next = WRAPPERS.find((wrapper) =>
      names.every((name) => name.startsWith(prefix + wrapper) && name.length > prefix.length + wrapper.length),
    );
    if (next === undefined || names.length === 0) return prefix;
    prefix += next;
  }
}

/** How training scripts name the moving average of the weights. */
export const AVERAGES = ["ema.", "ema_model.", "model_ema."];
/** Of such an average: how often, and with which weight, it was updated. */
export const COUNTERS: ReadonlySet<string> = new Set(["decay", "num_updates", "initted", "step"]);

/**
 * Names without what {@link wrapperPrefix} says of them. A moving average beside the weights has its own before every name,
 * or none: `ema.module.conv_in.bias` is `ema.conv_in.bias`, whatever stands before the weights' names.
 *
 * @returns what stood before the weights' names, and what a name is without it
 */
export function unwrapping(names: readonly string[]): { prefix: string; unwrap: (name: string) => string } {
  const averageOf = (name: string) => AVERAGES.find((average) => name.startsWith(average));
  const weights = names.filter((name) => averageOf(name) === undefined);
  // A file of averages alone has no weights that they could stand beside.
  if (weights.length === 0) return { prefix: "", unwrap: (name) => name };
  const prefix = wrapperPrefix(weights);
  const inner = new Map(
    AVERAGES.map((average) => {
      const rest = names.filter((name) => name.startsWith(average)).map((name) => name.slice(average.length));
      return [average, wrapperPrefix(rest.filter((name) => !COUNTERS.has(name)))];
    }),
  );
  const unwrap = (name: string): string => {
    const average = averageOf(name);
    if (average === undefined) return name.slice(prefix.length);
    const before = average + inner.get(average);
    return name.startsWith(before) ? average + name.slice(before.length) : name;
  };
  return { prefix, unwrap };
}

function rename(name: string, from: 0 | 1, to: 0 | 1): string {
  return name.replace(PROJECTION, (all, block: string, projection: string, parameter: string) => {
    const pair = RENAMED.find((names) => names[from] === projection);
    return pair ? block + pair[to] + parameter : all;
  });
}
