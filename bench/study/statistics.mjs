// The study's statistics. Images are rows of values; a set of them is summed up by its mean and covariance.
import { EigenvalueDecomposition, Matrix } from "ml-matrix";

/**
 * Mean and covariance of a set of images, the covariance as a factor F with FᵀF = Σ.
 * @typedef {object} Gaussian
 * @property {ArrayLike<number>} mean of `D` values
 * @property {Matrix} factor any number of rows, `D` columns
 */

/**
 * @param {readonly ArrayLike<number>[]} images two or more
 * @returns {Gaussian} with the unbiased covariance
 */
export function gaussianOf(images) {
  const rows = new Matrix(images.map((image) => Array.from(image)));
  const mean = rows.mean("column");
  return { mean, factor: rows.subRowVector(mean).mul(1 / Math.sqrt(images.length - 1)) };
}

/**
 * The same Gaussian with at most `rank` rows: its largest principal components, each as long as its standard deviation.
 * @param {Gaussian} gaussian
 * @param {number} rank
 * @returns {Gaussian}
 */
export function principal({ mean, factor }, rank) {
  const { realEigenvalues: values, eigenvectorMatrix: vectors } = symmetricEigen(factor.transpose().mmul(factor));
  const largest = values.map((value, i) => ({ value, i })).sort((a, b) => b.value - a.value);
  const rows = largest
    .slice(0, rank)
    .map(({ value, i }) => vectors.getColumn(i).map((v) => v * Math.sqrt(Math.max(0, value))));
  return { mean, factor: new Matrix(rows) };
}

/** @param {Matrix} matrix */
const symmetricEigen = (matrix) => new EigenvalueDecomposition(matrix, { assumeSymmetric: true });

/**
 * The squared Fréchet distance of two Gaussians, |μ₁ - μ₂|² + tr Σ₁ + tr Σ₂ - 2 tr √(Σ₁Σ₂) (Dowson and Landau 1982), the
 * quantity called FID where the vectors are a network's features. The eigenvalues of Σ₁Σ₂ are the squared singular values
 * of F₁F₂ᵀ, so the eigenproblem is as large as the smaller factor has rows, and symmetric.
 * @param {Gaussian} a
 * @param {Gaussian} b
 */
export function frechetDistance(a, b) {
  const [small, large] = a.factor.rows < b.factor.rows ? [a, b] : [b, a];
  const cross = small.factor.mmul(large.factor.transpose());
  const { realEigenvalues } = symmetricEigen(cross.mmul(cross.transpose()));
  const root = realEigenvalues.reduce((sum, value) => sum + Math.sqrt(Math.max(0, value)), 0);
  const shift = a.mean.length * distance(a.mean, b.mean) ** 2;
  return shift + variance(a) + variance(b) - 2 * root;
}

/**
 * The trace of the covariance. @param {Gaussian} gaussian
 */
export const variance = ({ factor }) => factor.to1DArray().reduce((sum, v) => sum + v * v, 0);

/**
 * Root mean square difference of two images.
 * @param {ArrayLike<number>} a
 * @param {ArrayLike<number>} b
 */
export function distance(a, b) {
  let sum = 0;
  for (let j = 0; j < a.length; j++) sum += (Number(a[j]) - Number(b[j])) ** 2;
  return Math.sqrt(sum / a.length);
}

/** @param {readonly number[]} values */
export const average = (values) => values.reduce((a, b) => a + b, 0) / values.length;

/**
 * Mean distance between image i of one set and image i of another, over all images and all pairs of sets.
 * @param {readonly (readonly ArrayLike<number>[])[]} sets two or more, of equally many images
 */
export function diversity(sets) {
  const pairs = sets.flatMap((a, i) => sets.slice(i + 1).map((b) => /** @type {const} */ ([a, b])));
  return average(pairs.flatMap(([a, b]) => a.map((image, k) => distance(image, b[k] ?? []))));
}

/**
 * Mean distance between different images of a set.
 * @param {readonly ArrayLike<number>[]} images two or more
 */
export const spread = (images) => average(images.flatMap((a, i) => images.slice(i + 1).map((b) => distance(a, b))));
