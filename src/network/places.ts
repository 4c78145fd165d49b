/** A module's place in the tree of diffusers' names, taken apart for the tables of other layouts. */

/** `index` counts modules of a kind within a level; `rest` is the path below them, "" for the module itself. */
export interface Place {
  readonly block: "down" | "mid" | "up";
  /** Of the blocks going down or up, in the order of execution. */
  readonly level: number;
  readonly part: "resnets" | "attentions" | "samplers";
  readonly index: number;
  readonly rest: string;
}

const PLACE = /^(?:(down|up)_blocks\.(\d+)|mid_block)\.(resnets|attentions|(?:down|up)samplers)\.(\d+)(?:\.(.+))?$/;

/** @returns undefined for modules outside the levels, such as `conv_in` */
export function placeOf(path: string): Place | undefined {
  const match = PLACE.exec(path);
  if (!match) return undefined;
  const [, block = "mid", level = "0", part = "", index, rest = ""] = match;
  return {
    block: block as Place["block"],
    level: Number(level),
    part: part.endsWith("samplers") ? "samplers" : (part as Place["part"]),
    index: Number(index),
    rest,
  };
}

/** A parameter's module and its own last name, as in `conv_in` and `weight`. */
export function splitParam(name: string): [module: string, leaf: string] {
  const at = name.lastIndexOf(".");
  return [name.slice(0, at), name.slice(at + 1)];
}

export const joinModule = (module: string, rest: string): string => (rest === "" ? module : `${module}.${rest}`);
