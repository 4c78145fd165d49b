/**
 * The arithmetic of every product on software adapters: `height` vectors on the left × 4·lanes columns on the right, results in registers, fed by
 * `subgroupBroadcast`. A lane fetches the vec4 of its vectors and four vec4s of its columns; every vector's four components
 * are broadcast. Statements are written out, because loops over accumulators would keep them in memory.
 */
import { range } from "../../runtime/wgsl.ts";

/** Declarations of the accumulators, `blocks` of them per vector. */
export const accumulators = (height: number, blocks = 1): string =>
  names(height, blocks)
    .map((name) => `var ${name} = vec4f();`)
    .join(" ");

const names = (height: number, blocks: number): string[] =>
  range(blocks).flatMap((block) => range(height).map((r) => `c${block}_${r}`));

/**
 * Declares `results`, the accumulators as an array, block by block, for whatever finishes them in a loop. Written out one
 * by one that is most of a kernel's statements: on llvmpipe the gather kernel compiled in 0.7 s instead of 6.9 s with a
 * loop.
 */
const resultsOf = (height: number, blocks: number): string =>
  `var results = array<vec4f, ${height * blocks}>(${names(height, blocks).join(", ")});`;

/** The end of a kernel: statements for every result of this lane, `result` of vector `r` in vec4 column `at`. */
export const eachResult = (init: {
  readonly height: number;
  readonly lanes: number;
  readonly blocks: number;
  /** Expression: this lane's column in the first block. */
  readonly column: string;
  /** Expression: how many columns there are. */
  readonly columns: string;
  /** Expression: how many of the vectors there are. */
  readonly count: string;
  readonly statements: string;
}): string => `
  ${resultsOf(init.height, init.blocks)}
  for (var block = 0u; block < ${init.blocks}u; block++) {
    let at = ${init.column} + block * ${init.lanes}u;
    if (at >= ${init.columns}) { return; }
    for (var r = 0u; r < ${init.count}; r++) {
      let result = results[block * ${init.height}u + r];
      ${init.statements}
    }
  }`;

/**
 * Blocks of columns of a workgroup: two, where vec4 columns fill them and at least two workgroups are left for two
 * threads.
 * @param others workgroups beside each other for each block of columns
 */
export function columnBlocks(columns: number, lanes: number, others = Number.POSITIVE_INFINITY): number {
  const pairs = columns / (2 * lanes);
  return Number.isInteger(pairs) && pairs * others >= 2 ? 2 : 1;
}

/** Fetches one vec4 group of the inner axis and adds its products; `tag` keeps the names of unrolled steps apart. */
export function outerProduct(init: {
  readonly height: number;
  readonly lanes: number;
  /** Blocks of 4·lanes columns; a vector's vec4 is fetched once for all of them. */
  readonly blocks?: number;
  readonly tag?: string;
  /** Expression: the vec4 of this lane's vector in block i of them. */
  readonly left: (i: number) => string;
  /** Expression: the vec4 of this lane's columns in a block for component j of the group. */
  readonly column: (j: number, block: number) => string;
}): string {
  const { height, lanes, blocks = 1, tag = "", left, column } = init;
  const products = (block: number) =>
    range(height).map((r) =>
      range(4)
        .map((j) => {
          const broadcast = `subgroupBroadcast(a${tag}${Math.floor(r / lanes)}.${"xyzw"[j]}, ${r % lanes}u)`;
          return `c${block}_${r} += ${broadcast} * w${tag}${block}${j};`;
        })
        .join(" "),
    );
  return [
    ...range(height / lanes).map((i) => `let a${tag}${i} = ${left(i)};`),
    ...range(blocks).flatMap((block) => [
      ...range(4).map((j) => `let w${tag}${block}${j} = ${column(j, block)};`),
      ...products(block),
    ]),
  ].join("\n");
}
