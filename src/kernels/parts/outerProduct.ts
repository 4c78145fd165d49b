/**
 * The arithmetic of every product on software adapters: rows × 4·lanes columns of results in registers, fed by
 * `subgroupBroadcast`. A lane fetches the vec4 of its rows and four vec4s of its columns; every row's four components
 * are broadcast. Statements are written out, because loops over accumulators would keep them in memory.
 */
import { range } from "../../runtime/wgsl.ts";

/** Declarations of the accumulators c0..c(rows−1). */
export const accumulators = (rows: number): string =>
  range(rows)
    .map((r) => `var c${r} = vec4f();`)
    .join(" ");

/**
 * Declares `results`, the accumulators as an array, for whatever finishes them in a loop. Written out row by row that is
 * most of a kernel's statements: on llvmpipe the gather kernel compiled in 0.7 s instead of 6.9 s with a loop.
 */
export const resultsOf = (rows: number): string =>
  `var results = array<vec4f, ${rows}>(${range(rows)
    .map((r) => `c${r}`)
    .join(", ")});`;

/** Fetches one vec4 group of the inner axis and adds its products; `tag` keeps the names of unrolled steps apart. */
export function outerProduct(init: {
  readonly rows: number;
  readonly lanes: number;
  readonly tag?: string;
  /** Expression: the vec4 of this lane's row in block i of rows. */
  readonly row: (i: number) => string;
  /** Expression: the vec4 of this lane's columns for component j of the group. */
  readonly column: (j: number) => string;
}): string {
  const { rows, lanes, tag = "", row, column } = init;
  const products = range(rows).map((r) =>
    range(4)
      .map(
        (j) => `c${r} += subgroupBroadcast(a${tag}${Math.floor(r / lanes)}.${"xyzw"[j]}, ${r % lanes}u) * w${tag}${j};`,
      )
      .join(" "),
  );
  return [
    ...range(rows / lanes).map((i) => `let a${tag}${i} = ${row(i)};`),
    ...range(4).map((j) => `let w${tag}${j} = ${column(j)};`),
    ...products,
  ].join("\n");
}
