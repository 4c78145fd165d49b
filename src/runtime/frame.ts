/** What changes from one evaluation of a network to the next: the uniform that kernels with `frame: true` read. */
import { Struct } from "./struct.ts";

export const frameRecord = new Struct("Frame", {
  entry: ["u32", "evaluations", "place of this one in what the time-embedding table holds"],
  first: ["u32", "evaluations", "those before what the table holds"],
  images: ["u32", "images", "in one evaluation: rows of the table for each"],
  row: ["u32", "evaluations", "those of the run before this one: the row of its plan"],
});
