/**
 * Which file of a network's folder holds the weights. The names are diffusers' (`utils/constants.py`, `_add_variant`,
 * `_fetch_index_file` and its legacy twin) and, for other layouts, plain `model.safetensors`; after those PyTorch's pickles.
 */

import { FileError, UsageError } from "../runtime/errors.ts";
import { listed } from "../runtime/printable.ts";
import { joinPath, label } from "./path.ts";
import type { ModelSource } from "./source.ts";

const BASES = ["diffusion_pytorch_model", "model"];

/** Pickles that go by other names. */
const PICKLES = ["pytorch_model.bin", "model.ckpt", "model.pt", "model.pth"];

const PICKLE_ENDING = /\.(bin|ckpt|pt|pth)$/i;

/** Whether a file's name says that it is a pickle. */
export const isPickle = (path: string): boolean => PICKLE_ENDING.test(path);

/** Whether a file's name says that it holds weights that can be read here. */
export const isWeights = (path: string): boolean => isPickle(path) || /\.safetensors$/i.test(path);
/** One of several files that together are a checkpoint; a suffix such as fp16 stands before or after the numbers. */
const SHARD = /^(.+)-(\d{1,5})-of-(\d{1,5})((?:\.[\w-]+)?)\.safetensors$/;

/** The files of a shard's set by its name, or the file alone. */
export function shardSet(path: string): string[] {
  const [, base = "", number = "", of = "", suffix = ""] = SHARD.exec(path) ?? [];
  if (base === "" || Number(of) < 2) return [path];
  return Array.from(
    { length: Number(of) },
    (_, i) => `${base}-${String(i + 1).padStart(number.length, "0")}-of-${of}${suffix}.safetensors`,
  );
}

/** Whether a file of weights has a name that needs no explanation. */
export const isUsualName = (path: string): boolean => new RegExp(`(^|/)(${BASES.join("|")})[.-]`).test(path);

/** Suffixes to ask for where the source cannot list a folder. */
const COMMON_SUFFIXES = ["fp16", "bf16"];

const PADDLE = /\.pdparams(\.index\.json)?$|^diffusion_paddle_model\./;

/** Weights that this package does not read, and the way from each to safetensors. */
const OTHER_FORMATS: { pattern: RegExp; probes: string[]; advice: string }[] = [
  {
    pattern: PADDLE,
    probes: ["model_state.pdparams", "diffusion_paddle_model.safetensors"],
    advice:
      "is Paddle's format: load the model with ppdiffusers' from_pretrained and save it with save_pretrained(folder, to_diffusers=True)",
  },
];

/**
 * Finds the weights: the path of a `.safetensors` file, of a pickle, or of a sharded checkpoint's `.json` index. An index
 * goes before a single file, as in diffusers, and safetensors before pickles. Without `suffix` the plain weights, or the
 * only ones with a suffix. Where the source can list the folder, also a shard of a set without an index, and the only
 * safetensors file, whatever its name.
 *
 * @param suffix - diffusers' option `variant`
 * @param original - whether the configuration is an original's: a server is asked for `model.safetensors` first
 * @throws FileError when there are none: says which others there are, or how to convert what there is.
 */
export async function locateWeights(
  source: ModelSource,
  folder: string,
  suffix?: string,
  signal?: AbortSignal,
  original = false,
): Promise<string> {
  const bases = source.remote && original ? BASES.toReversed() : BASES;
  if (suffix !== undefined && !/^[\w-]+$/.test(suffix))
    throw new UsageError("variant", `variant ${JSON.stringify(suffix)} must be a word such as fp16`);
  if (source.weights !== undefined && folder === "") {
    if (suffix === undefined) return source.weights;
    throw new UsageError(
      "variant",
      `${label(source, source.weights)} is one file, so there is no variant ${suffix} of it`,
    );
  }
  const names = source.list ? new Set(await source.list(folder, signal)) : undefined;
  const has = async (name: string) => names?.has(name) ?? source.exists(joinPath(folder, name), signal);
  const first = async (candidates: string[]) => {
    for (const name of candidates) if (await has(name)) return name;
    return undefined;
  };

  // A server is asked for the single file first, which most models have; it hardly ever has an index beside it.
  const all = (ending: string, suffix?: string) =>
    bases.flatMap((base) => {
      const candidates = fileNames(base, ending, suffix);
      return source.remote ? candidates.reverse() : candidates;
    });
  const pickles = (suffix?: string) => [...all("bin", suffix), ...(suffix === undefined ? PICKLES : [])];
  const plainShard = [...(names ?? [])].sort().find((name) => PLAIN_SHARD.test(name));
  const either = async (suffix?: string) =>
    (await first(all("safetensors", suffix))) ??
    (suffix === undefined ? plainShard : undefined) ??
    (await first(pickles(suffix)));
  const asked = await either(suffix);
  if (asked) return joinPath(folder, asked);

  const found = new Map<string, string>();
  for (const other of names ? suffixesIn(names) : COMMON_SUFFIXES) {
    const name = other === suffix ? undefined : await either(other);
    if (name) found.set(other, name);
  }
  const where = label(source, folder) || "the model";
  if (suffix !== undefined) {
    const plain = await either();
    const others = [...(plain ? ["the plain weights"] : []), ...found.keys()];
    const instead = others.length > 0 ? `; it has ${listed(others)}` : "";
    const isOf = (name: string) => name.includes(`.${suffix}-`) || name.endsWith(`.${suffix}.safetensors`);
    const only = onlyCheckpoint(where, [...(names ?? [])].filter(isOf));
    if (only !== undefined) return joinPath(folder, only);
    throw new FileError(where, `has no weights of variant ${suffix}${instead}`);
  }
  if (found.size === 1) return joinPath(folder, [...found.values()][0]!);
  if (found.size > 1)
    throw new FileError(where, `has several variants of the weights (${listed([...found.keys()])}): choose one`);

  const only = onlyCheckpoint(where, [...(names ?? [])]);
  if (only !== undefined) return joinPath(folder, only);

  // A pickle of any other name, where it is the only one.
  const others = [...(names ?? [])].filter(isPickle);
  if (others.length === 1) return joinPath(folder, others[0]!);
  for (const { pattern, probes, advice } of OTHER_FORMATS) {
    const name = names ? [...names].sort().find((name) => pattern.test(name)) : await first(probes);
    if (name) throw new FileError(label(source, joinPath(folder, name)), advice);
  }
  throw new FileError(where, `has no weights: neither ${BASES.map((base) => `${base}.safetensors`).join(" nor ")}`);
}

const PLAIN_SHARD = new RegExp(`^(?:${BASES.join("|")})-\\d{1,5}-of-\\d{1,5}\\.safetensors$`);

/**
 * The safetensors file, or one shard of the set, that a folder has no other beside.
 * @returns undefined where there is none
 * @throws FileError when there are several
 */
function onlyCheckpoint(where: string, names: readonly string[]): string | undefined {
  const files = names.filter((name) => name.endsWith(".safetensors") && !PADDLE.test(name)).sort();
  const sets = new Map(files.map((name) => [shardSet(name)[0] as string, name]));
  if (sets.size > 1)
    throw new FileError(
      where,
      `has several safetensors files, none of them called ${BASES.join(".safetensors or ")}.safetensors: ${listed([...sets.keys()])}; name one of them so`,
    );
  return [...sets.values()][0];
}

/** The names that weights may have, the preferred one first. */
function fileNames(base: string, ending: string, suffix?: string): string[] {
  const file = `${base}.${ending}`;
  if (suffix === undefined) return [`${file}.index.json`, file];
  return [`${file}.index.${suffix}.json`, `${file}.${suffix}.index.json`, `${base}.${suffix}.${ending}`];
}

/** The suffixes that a folder's files have. */
function suffixesIn(names: Iterable<string>): Set<string> {
  const bases = BASES.join("|");
  const single = new RegExp(`^(?:${bases})\\.([\\w-]+)\\.(?:safetensors|bin)$`);
  const index = new RegExp(`^(?:${bases})\\.(?:safetensors|bin)(?:\\.index\\.([\\w-]+)|\\.([\\w-]+)\\.index)\\.json$`);
  const suffixes = new Set<string>();
  for (const name of names) {
    const match = single.exec(name) ?? index.exec(name);
    const suffix = match?.[1] ?? match?.[2];
    if (suffix && !/-\d{5}-of-\d{5}$/.test(suffix)) suffixes.add(suffix);
  }
  return suffixes;
}
