// From the study's images to its numbers, and from the numbers to tables.
import { ALL_STEPS, cells, SPACINGS } from "./cells.mjs";
import { average, distance, diversity, frechetDistance, gaussianOf, variance } from "./statistics.mjs";

/** @typedef {import("./cells.mjs").Cell} Cell */

/**
 * @typedef {object} Measures
 * @property {number} frechet distance of the images from the training images
 * @property {number} variance of the images, as a share of the training images'; unbiased at any number of images
 * @property {number | null} diversity mean distance of images of one x_T under different step seeds; null where there is one seed only
 * @property {number} change mean distance of the images from those of all steps with the same eta, x_T and seed
 */

/**
 * @typedef {object} Results
 * @property {string} adapter
 * @property {number} images
 * @property {number} spread mean distance of two of the images of all steps with eta 0, that is of different x_T
 * @property {import("./moments.mjs").Facts} training
 * @property {(Cell & Measures)[]} cells
 */

/** Images of a cell; undefined for a block or a seed that has not been sampled. */
/** @typedef {(cell: Cell, block: number, seed: number) => readonly Float64Array[] | undefined} ImagesOf */

/**
 * How many blocks are there of every cell, so that all cells are compared on the same images.
 * @param {ImagesOf} imagesOf
 */
export function wholeBlocks(imagesOf) {
  let blocks = 0;
  while (cells().every((cell) => imagesOf(cell, blocks, 0))) blocks++;
  return blocks;
}

/**
 * Diversity from the step seeds that are there; a deterministic run is the same under all.
 * @param {Cell} cell
 * @param {ImagesOf} imagesOf
 */
function diversityOf(cell, imagesOf) {
  if (cell.eta === 0) return 0;
  const sets = [];
  for (let seed = 0, own = imagesOf(cell, 0, seed); own; own = imagesOf(cell, 0, ++seed)) sets.push(own);
  return sets.length > 1 ? diversity(sets) : null;
}

/**
 * Images of a cell with the first step seed.
 * @param {Cell} cell
 * @param {ImagesOf} imagesOf
 * @param {number} blocks
 */
const imagesIn = (cell, imagesOf, blocks) =>
  Array.from({ length: blocks }, (_, block) => imagesOf(cell, block, 0) ?? []).flat();

/**
 * The images of all steps.
 * @param {number} eta
 * @param {ImagesOf} imagesOf
 * @param {number} blocks
 */
export const finest = (eta, imagesOf, blocks) => imagesIn({ eta, steps: ALL_STEPS, spacing: "all" }, imagesOf, blocks);

/**
 * @param {Cell} cell
 * @param {ImagesOf} imagesOf
 * @param {number} blocks
 * @param {import("./statistics.mjs").Gaussian} training
 * @returns {Measures}
 */
export function measure(cell, imagesOf, blocks, training) {
  const images = imagesIn(cell, imagesOf, blocks);
  const reference = finest(cell.eta, imagesOf, blocks);
  const own = gaussianOf(images);
  return {
    frechet: frechetDistance(own, training),
    variance: variance(own) / variance(training),
    diversity: diversityOf(cell, imagesOf),
    change: average(images.map((image, i) => distance(image, reference[i] ?? []))),
  };
}

/** Rows of a table: each spacing with its numbers of steps, and all steps. */
function* rowsOf(/** @type {Results} */ { cells: all }) {
  for (const spacing of [...Object.keys(SPACINGS), "all"])
    for (const steps of new Set(all.filter((cell) => cell.spacing === spacing).map((cell) => cell.steps)))
      yield { spacing, steps, cells: all.filter((cell) => cell.spacing === spacing && cell.steps === steps) };
}

/**
 * One measure as a Markdown table, a column per eta.
 * @param {Results} results
 * @param {keyof Measures} measure
 * @param {number} digits
 */
export function markdown(results, measure, digits) {
  const etas = [...new Set(results.cells.map((cell) => cell.eta))];
  const line = (/** @type {(string | number)[]} */ words) => `| ${words.join(" | ")} |`;
  const rows = [...rowsOf(results)].map(({ spacing, steps, cells: own }) =>
    line([
      spacing,
      steps,
      ...etas.map((eta) => own.find((cell) => cell.eta === eta)?.[measure]?.toFixed(digits) ?? ""),
    ]),
  );
  const head = [
    line(["timesteps", "S", ...etas.map((eta) => `η = ${eta}`)]),
    line(["---", "--:", ...etas.map(() => "--:")]),
  ];
  return [...head, ...rows].join("\n");
}

/**
 * All tables.
 * @param {Results} results
 */
export const tables = (results) => ({
  frechet: markdown(results, "frechet", 1),
  variance: markdown(results, "variance", 2),
  diversity: markdown(results, "diversity", 3),
  change: markdown(results, "change", 3),
});
