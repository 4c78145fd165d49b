// The files in which the study keeps its images: 8 bits per value, image after image, channels x height x width.

export const BATCH = 16;
/** Of x_T; the steps' noise takes the seeds after it. */
export const FIRST_SEED = 2024;

/** @typedef {import("./cells.mjs").Job} Job */

/** @param {Job} job */
export const describe = ({ eta, steps, spacing, block, seed }) =>
  `eta ${eta}, ${steps} steps, ${spacing}, images ${block * BATCH}..${(block + 1) * BATCH - 1}, step seed ${seed}`;

/** @param {Job} job */
export const fileOf = ({ eta, steps, spacing, block, seed }) =>
  `eta-${eta}_steps-${steps}_${spacing.replaceAll(" ", "-")}_block-${block}_seed-${seed}.u8`;

/**
 * -1..1 to 0..255, as a PNG has it.
 * @param {Float32Array} values
 */
export const toBytes = (values) =>
  Uint8Array.from(values, (v) => Math.round((Math.min(1, Math.max(-1, v)) + 1) * 127.5));

/**
 * The images of some bytes, in -1..1.
 * @param {Uint8Array} bytes
 * @param {number} size values of an image
 */
export const fromBytes = (bytes, size) =>
  Array.from({ length: bytes.length / size }, (_, i) =>
    Float64Array.from(bytes.subarray(i * size, (i + 1) * size), (v) => v / 127.5 - 1),
  );
