/** Where the modules and parameters of a network are in a checkpoint, both given by diffusers' names. */
import type { ExpectedTensor, TensorSource } from "../weights/match.ts";

export interface Naming {
  /** The checkpoint's own path of a module. */
  module(path: string): string;
  locate(param: ExpectedTensor): TensorSource;
}

/** diffusers' own names. */
export const diffusersNaming: Naming = { module: (path) => path, locate: (param) => param };
