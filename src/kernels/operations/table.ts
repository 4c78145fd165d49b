/**
 * Every operation but the {@link rare} ones. The graph's methods, fusion, lowering and what there is besides in bench and test
 * go by this table and theirs.
 */
import type { Value } from "../../runtime/values.ts";
import { activation } from "./activation.ts";
import { add } from "./add.ts";
import { apply } from "./apply.ts";
import { attention } from "./attention.ts";
import { concat } from "./concat.ts";
import { addEmb, conv2d } from "./conv2d.ts";
import { geglu } from "./geglu.ts";
import { groupNorm, norm } from "./groupNorm.ts";
import { layerNorm } from "./layerNorm.ts";
import { lookup } from "./lookup.ts";
import type { NodeBase } from "./node.ts";
import type { Operation } from "./operation.ts";
import { quickGelu } from "./quickGelu.ts";
import type { rare } from "./rare.ts";
import { avgPool, upsample } from "./resample.ts";
import { fill, scaleShift } from "./scaleShift.ts";
import { take } from "./take.ts";

export const operations = {
  conv2d,
  addEmb,
  groupNorm,
  layerNorm,
  activation,
  geglu,
  quickGelu,
  attention,
  add,
  scaleShift,
  concat,
  upsample,
  avgPool,
  take,
  lookup,
  // Made by fusion alone.
  norm,
  fill,
  apply,
};

type Operations = typeof operations & typeof rare;
type NodeOf<O> = O extends Operation<infer N> ? N : never;

/** An operation on particular values, in a graph or in what fusion makes of it. */
export type Node = { [K in keyof Operations]: NodeOf<Operations[K]> }[keyof Operations];

/** Operations that can be built. */
export type BuiltName = { [K in keyof Operations]: "build" extends keyof Operations[K] ? K : never }[keyof Operations];

/** The node of one of them. */
export type BuiltNode<K extends BuiltName> = NodeOf<Operations[K]>;

/** A graph's methods. */
export type Methods = {
  readonly [K in BuiltName & keyof typeof operations]: Operations[K]["build"] extends (
    graph: never,
    label: string,
    ...args: infer A
  ) => unknown
    ? (label: string, ...args: A) => Value
    : never;
};

export const operationOf = ({ op, operation }: NodeBase) =>
  (operation ?? operations[op as keyof typeof operations]) as Operation<NodeBase>;
