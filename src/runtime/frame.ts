/** What changes from one evaluation of a network to the next: the uniform that kernels with `frame: true` read. */
import { Struct } from "./struct.ts";

export const frameRecord = new Struct("Frame", {
  row: ["u32", "evaluations", "those of the run before this one: the row of its plan"],
});
