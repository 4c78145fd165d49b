// What the study samples: every eta with every number of steps under every spacing, the same starting noise throughout.

export const ETAS = [0, 0.1, 0.2, 0.4, 0.8, 1];
export const STEPS = [10, 25, 50, 100];
/** Every timestep: all spacings are the same list there. */
export const ALL_STEPS = 1000;
/** The three rules hit both ends of 0..T-1 and differ in nothing but where they are dense. */
export const SPACINGS = /** @type {const} */ ({
  uniform: "power:1",
  "dense at high t": "power:.5",
  "dense at low t": "power:2",
});

/**
 * @typedef {object} Cell
 * @property {number} eta
 * @property {number} steps
 * @property {keyof typeof SPACINGS | "all"} spacing
 */

/** @returns {Cell[]} quick ones first */
export function cells() {
  const spacings = /** @type {(keyof typeof SPACINGS)[]} */ (Object.keys(SPACINGS));
  return [
    ...STEPS.flatMap((steps) => spacings.flatMap((spacing) => ETAS.map((eta) => ({ eta, steps, spacing })))),
    ...ETAS.map((eta) => ({ eta, steps: ALL_STEPS, spacing: /** @type {const} */ ("all") })),
  ];
}

/**
 * One batch of one cell.
 * @typedef {Cell & { block: number, seed: number }} Job
 */

/**
 * All images of one step seed block by block; then, for the first block alone, the other step seeds, which matter only
 * where eta is above 0.
 * @param {number} blocks
 * @param {number} seeds
 * @returns {Job[]}
 */
export function jobs(blocks, seeds) {
  const every = cells();
  const noisy = every.filter(({ eta }) => eta > 0);
  const more = Array.from({ length: seeds - 1 }, (_, i) => noisy.map((cell) => ({ ...cell, block: 0, seed: i + 1 })));
  const rest = Array.from({ length: blocks }, (_, block) => every.map((cell) => ({ ...cell, block, seed: 0 })));
  const [first = [], ...others] = rest;
  return [...first, ...more.flat(), ...others.flat()];
}

/**
 * Classes in given proportions, spread evenly: each image takes the one that is furthest behind.
 * @param {readonly number[]} shares adding up to 1
 * @param {number} count
 */
export function classesInProportion(shares, count) {
  const given = shares.map(() => 0);
  return Array.from({ length: count }, (_, i) => {
    const behind = shares.map((share, k) => share * (i + 1) - (given[k] ?? 0));
    const next = behind.indexOf(Math.max(...behind));
    given[next] = (given[next] ?? 0) + 1;
    return next;
  });
}
