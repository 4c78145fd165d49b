/** Which of a checkpoint's tensors are the weights of its network: training scripts wrap them in different ways. */

import { FileError, UsageError } from "../../runtime/errors.ts";
import { NumpyArray, numpyTensor } from "./numpy.ts";
import { PickledTensor } from "./tensor.ts";
import { Dict, Stub } from "./values.ts";

/** Keys under which scripts keep the plain weights, the first that has some goes before. */
const PLAIN = [
  ...["state_dict", "model_state_dict", "model", "net", "network", "unet", "params", "module", "generator"],
  ...["weights", "denoise_fn"],
];
/** Keys under which they keep the moving average. */
const EMA = [
  ...[
    "ema",
    "ema_state_dict",
    "state_dict_ema",
    "model_ema",
    "ema_model",
    "model_ema_state_dict",
    "ema_model_state_dict",
  ],
  ...["params_ema", "ema_params", "ema_net", "net_ema", "unet_ema", "ema_unet", "g_ema", "shadow"],
];
/** Names in lucidrains' EMA, which holds the network twice. */
const EMA_MODEL = "ema_model.";
/** Dicts in dicts that are looked through. */
const MAX_LEVELS = 3;
/** Levels that an object may have: Python's pickler itself gives up at about as many. */
const MAX_NESTING = 1000;

export interface State {
  readonly tensors: Map<string, PickledTensor>;
  /** Whether it is a moving average that the file keeps apart from the plain weights. */
  readonly ema: boolean;
  /** The key or place it was found at; "" is the whole file. */
  readonly place: string;
  /** What else the file holds, by name, and why where that is not plain. */
  readonly leftOut: readonly string[];
}

/**
 * Finds the weights: under one of the usual keys, in a list (ermongroup/ddim's ends with the moving average), or the
 * object itself.
 * @throws FileError where there are none by name; UsageError where the moving average is asked for and there is none
 */
export function findState(content: unknown, ema: boolean, file: string): State {
  checkNesting(content, file);
  if (content instanceof Dict && content.named().has("StructuredToParameterName@@"))
    throw new FileError(file, "is Paddle's format: load the model with ppdiffusers and save it with to_diffusers=True");
  const candidates = candidatesIn(content, "", 0);
  const averages = candidates.filter((candidate) => candidate.ema);
  const plain = candidates.filter((candidate) => !candidate.ema);
  const chosen = ema ? averages[0] : (plain[0] ?? averages[0]);
  if (chosen) return finish(chosen, content, file);
  const [within] = plain;
  // latent-diffusion keeps both sets side by side under names of their own; the layout tells them apart.
  if (within && [...within.dict.named().keys()].some((name) => name.startsWith("model_ema.")))
    return finish(within, content, file);
  if (within) throw new UsageError("weights", `${file} has no EMA weights beside the plain ones`);
  throw new FileError(file, `has no tensors by name: it holds ${describe(content)}`);
}

interface Candidate {
  readonly dict: Dict;
  readonly place: string;
  readonly ema: boolean;
}

/** Dicts of tensors, those under well-known keys first. */
function candidatesIn(content: unknown, place: string, level: number): Candidate[] {
  if (level > MAX_LEVELS) return [];
  if (Array.isArray(content)) {
    const states = content.flatMap((item, i) =>
      isState(item) ? [{ dict: item, place: `item ${i}`, ema: false }] : [],
    );
    return states.map((state, i) => ({ ...state, ema: i > 0 && i === states.length - 1 }));
  }
  if (!(content instanceof Dict)) return [];
  const named = content.named();
  const inside = (key: string, ema: boolean) =>
    candidatesIn(named.get(key), place === "" ? key : `${place}.${key}`, level + 1).map((found) => ({
      ...found,
      ema: found.ema || ema,
    }));
  const known = [...PLAIN.flatMap((key) => inside(key, false)), ...EMA.flatMap((key) => inside(key, true))];
  const own = isState(content) ? [{ dict: content, place, ema: false }] : [];
  const others = [...named.keys()].filter((key) => !PLAIN.includes(key) && !EMA.includes(key));
  // A key that nobody knows counts where nothing better is there, the largest first.
  const unknown = known.length > 0 || level > 0 ? [] : others.flatMap((key) => inside(key, false));
  return [...known, ...[...own, ...unknown].sort((a, b) => tensorsIn(b.dict) - tensorsIn(a.dict))];
}

const isTensor = (value: unknown) => value instanceof PickledTensor || value instanceof NumpyArray;

function tensorsIn(dict: Dict): number {
  let count = 0;
  for (const value of dict.named().values()) if (isTensor(value)) count++;
  return count;
}

const isState = (value: unknown): value is Dict => value instanceof Dict && tensorsIn(value) > 0;

function finish({ dict, place, ema }: Candidate, content: unknown, file: string): State {
  const named = dict.named();
  const tensors = new Map<string, PickledTensor>();
  const leftOut: string[] = content === dict ? [] : keysBeside(content, place);
  const twice = ema && [...named.keys()].some((name) => name.startsWith(EMA_MODEL));
  for (const [name, value] of named) {
    const tensor = value instanceof NumpyArray ? numpyTensor(value, file) : value;
    const own = twice && name.startsWith(EMA_MODEL) ? name.slice(EMA_MODEL.length) : name;
    if (!(tensor instanceof PickledTensor) || (twice && own === name)) leftOut.push(name);
    else if (name === "__metadata__") leftOut.push(`${name} (a name that safetensors keeps for itself)`);
    else if (tensor.obstacle) leftOut.push(`${name} (${tensor.obstacle})`);
    else if (!tensor.type.dtype) leftOut.push(`${name} (of a type that safetensors has not)`);
    else tensors.set(own, tensor);
  }
  if (tensors.size === 0) throw new FileError(file, "has no tensors of a type that safetensors has");
  return { tensors, ema, place, leftOut };
}

/** What the file holds besides the weights. */
function keysBeside(content: unknown, place: string): string[] {
  const [first = ""] = place.split(".");
  if (content instanceof Dict) return [...content.named().keys()].filter((key) => key !== first);
  return Array.isArray(content) ? content.map((_, i) => `item ${i}`).filter((item) => item !== place) : [];
}

function describe(content: unknown): string {
  if (content instanceof Stub) return `an object of class ${content.of}; save the module's state_dict`;
  if (content instanceof Dict) return "a dict of other things; it may be an optimizer's state";
  return content instanceof PickledTensor ? "a single tensor" : "other things";
}

/** @throws FileError for objects that hold themselves, and for those of too many levels */
function checkNesting(content: unknown, file: string): void {
  const open = new Set<unknown>();
  const done = new Set<unknown>();
  const path: { object: unknown; children: readonly unknown[]; next: number }[] = [];
  const enter = (object: unknown): void => {
    const children = object instanceof Dict ? object.items : Array.isArray(object) ? object : undefined;
    if (!children || done.has(object)) return;
    if (open.has(object)) throw new FileError(file, "holds an object that holds itself, which no weights do");
    if (path.length >= MAX_NESTING) throw new FileError(file, `holds objects in more than ${MAX_NESTING} levels`);
    open.add(object);
    path.push({ object, children, next: 0 });
  };
  enter(content);
  for (let top = path.at(-1); top; top = path.at(-1)) {
    if (top.next < top.children.length) {
      enter(top.children[top.next++]);
      continue;
    }
    path.pop();
    open.delete(top.object);
    done.add(top.object);
  }
}
