/**
 * Operations of the graph on one value: what they are in f64, and the shapes they are tested on. A row here checks one on
 * every target (test/kernels/pointwise.test.ts), takes it into random networks, and lists it in `ddim bench kernels`.
 */
import type { Methods } from "../../src/kernels/operations/table.ts";
import type { Value } from "../../src/runtime/values.ts";
import { type ShapeCase, shapeCases } from "../cases.ts";
import { geglu } from "../reference/geglu.ts";
import { type RefTensor, tensor } from "../reference/tensor.ts";

interface Row {
  readonly f64: (x: RefTensor) => RefTensor;
  /** Of the result. */
  readonly cases: readonly ShapeCase[];
  /** Parts of the input, segments as wide as the result. */
  readonly parts: number;
}

type Unary = { [K in keyof Methods]: Methods[K] extends (label: string, x: Value) => Value ? K : never }[keyof Methods];

export const pointwise = {
  geglu: { f64: geglu, cases: shapeCases, parts: 2 },
  quickGelu: {
    f64: (x) => tensor(x.shape, (i) => (x.data[i] as number) / (1 + Math.exp(-1.702 * (x.data[i] as number)))),
    cases: shapeCases,
    parts: 1,
  },
} satisfies { readonly [K in Unary]?: Row };

export type Pointwise = keyof typeof pointwise;

export const pointwiseRows = Object.entries(pointwise) as readonly (readonly [Pointwise, Row])[];
