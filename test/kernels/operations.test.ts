/** The table of operations: whoever adds one hears here what else there is to be said about it. */
import { expect, test } from "vitest";
import { writers } from "../../bench/onnx/operations.ts";
import { Graph } from "../../src/kernels/graph.ts";
import { rare } from "../../src/kernels/operations/rare.ts";
import { type BuiltName, operations } from "../../src/kernels/operations/table.ts";
import { oracles } from "../support/interpreter.ts";

const all = Object.entries({ ...operations, ...rare });
const built = all.flatMap(([name, operation]) => ("build" in operation ? [name as BuiltName] : []));

test("operations stand in the table under their own names", () => {
  expect(all.map(([, { name }]) => name)).toEqual(all.map(([key]) => key));
  expect(Object.keys(rare).filter((name) => name in operations)).toEqual([]);
});

test("every operation is a method of the graph, has an f64 oracle and is written to ONNX", () => {
  const lacks = (entries: object) => built.filter((name) => !(name in entries));
  // What few networks have is added by `append`, so that graphs do not bring it along.
  expect(lacks(Graph.prototype)).toEqual(Object.keys(rare));
  expect(lacks(oracles)).toEqual([]);
  // Of UNets only: codebooks are autoencoders'.
  expect(lacks(writers)).toEqual(["lookup"]);
  expect(Object.keys({ ...oracles, ...writers }).filter((name) => !built.includes(name as BuiltName))).toEqual([]);
});

test("every operation is lowered, or becomes another one in fusion", () => {
  expect(all.flatMap(([name, op]) => ("lower" in op || "fuse" in op ? [] : [name]))).toEqual([]);
});
