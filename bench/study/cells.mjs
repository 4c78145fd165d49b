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
 * All cells block by block with one step seed; and the first block with the other step seeds, which matter only where eta
 * is above 0. What is cheap for what it tells comes first.
 * @param {number} blocks
 * @param {number} seeds
 * @returns {Job[]}
 */
export function jobs(blocks, seeds) {
  const every = cells();
  const block = (/** @type {number} */ i) => every.map((cell) => ({ ...cell, block: i, seed: 0 }));
  const again = Array.from({ length: seeds - 1 }, (_, i) =>
    every.filter(({ eta }) => eta > 0).map((cell) => ({ ...cell, block: 0, seed: i + 1 })),
  ).flat();
  const others = Array.from({ length: blocks - 1 }, (_, i) => block(i + 1)).flat();
  const quick = again.filter(({ steps }) => steps < ALL_STEPS);
  return [...block(0), ...quick, ...others, ...again.filter(({ steps }) => steps === ALL_STEPS)];
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
