// Sums up a model's training images for the study:
//
//   node bench/study/training.mjs IMAGES.safetensors MOMENTS.safetensors
//
// IMAGES holds `images`, U8 of N x C x H x W, and `labels`, U8 of N. MOMENTS gets the mean, the largest principal
// components of the covariance, a fiftieth of the images' size, and the distances of training images from each other.
import process from "node:process";
import { classesInProportion } from "./cells.mjs";
import { fromBytes } from "./files.mjs";
import { readSafetensors, writeMoments } from "./moments.mjs";
import { average, frechetDistance, gaussianOf, principal, variance } from "./statistics.mjs";

/** Leaves out 4e-5 of the variance of the faces. */
const RANK = 384;
/** The same sets of images serve every share, so that the two differ in nothing else. */
const FLOORS = [16, 32, 48, 64];
const SHARES = [1, 0.7];
const DRAWS = 20;

/** The same draws on every machine (mulberry32): numbers from 0 to 1. */
function randomNumbers(state = 1) {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let v = Math.imul(state ^ (state >>> 15), state | 1);
    v = (v + Math.imul(v ^ (v >>> 7), v | 61)) ^ v;
    return ((v ^ (v >>> 14)) >>> 0) / 2 ** 32;
  };
}

const [from, to] = process.argv.slice(2);
if (!from || !to) {
  console.error("usage: node bench/study/training.mjs IMAGES.safetensors MOMENTS.safetensors");
  process.exit(2);
}
const { shape, bytes } = readSafetensors(from);
const [count = 0, ...dimensions] = shape("images");
const images = fromBytes(
  bytes("images"),
  dimensions.reduce((a, b) => a * b),
);
const labels = bytes("labels");
const classes = Array.from({ length: Math.max(...labels) + 1 }, (_, k) => images.filter((_, i) => labels[i] === k));
const classShares = classes.map((own) => own.length / count);

const everything = gaussianOf(images);
const gaussian = principal(everything, RANK);
const lost = 1 - variance(gaussian) / variance(everything);
console.error(`${RANK} components leave out ${lost.toExponential(1)} of the variance`);

const half = (/** @type {number} */ odd) => principal(gaussianOf(images.filter((_, i) => i % 2 === odd)), RANK);
const random = randomNumbers();
const draw = (/** @type {number} */ size) =>
  classesInProportion(classShares, size).map((k) => {
    const own = classes[k] ?? [];
    return own[Math.floor(random() * own.length)] ?? [];
  });
/** @param {readonly number[]} values */
const deviation = (values) => Math.sqrt(average(values.map((v) => (v - average(values)) ** 2)));
/** Images drawn towards the mean until that share of their variance is left. */
const shrunk = (/** @type {ArrayLike<number>[]} */ set, /** @type {number} */ share) =>
  set.map((image) =>
    Array.from(image, (v, j) => Number(gaussian.mean[j]) + Math.sqrt(share) * (v - Number(gaussian.mean[j]))),
  );
const floors = FLOORS.flatMap((size) => {
  const sets = Array.from({ length: DRAWS }, () => draw(size));
  return SHARES.map((share) => {
    const gaussians = sets.map((set) => gaussianOf(shrunk(set, share)));
    const distances = gaussians.map((own) => frechetDistance(own, gaussian));
    const variances = gaussians.map((own) => variance(own) / variance(gaussian));
    return {
      images: size,
      share,
      frechet: { mean: average(distances), deviation: deviation(distances) },
      variance: { mean: average(variances), deviation: deviation(variances) },
    };
  });
});
const facts = { images: count, classShares, halves: frechetDistance(half(0), half(1)), floors };
writeMoments(to, gaussian, facts);
console.error(facts);
