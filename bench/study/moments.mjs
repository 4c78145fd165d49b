// The file of a model's training moments: mean and principal components, as safetensors.
import { readFileSync, writeFileSync } from "node:fs";
import { Matrix } from "ml-matrix";

/** @typedef {import("./statistics.mjs").Gaussian} Gaussian */

/**
 * What is known besides of the training images.
 * @typedef {object} Facts
 * @property {number} images how many there are
 * @property {number[]} classShares adding up to 1
 * @property {number} halves Fréchet distance of the images with even numbers from those with odd ones
 * @property {Floor[]} floors
 */

/**
 * How a perfect model's images would measure: Fréchet distance of so many training images, drawn in the classes'
 * proportions, from all of them, and their variance as a share of all's; over some draws. With a share below 1 the drawn
 * images were moved towards the mean of all until that share of their variance was left.
 * @typedef {object} Floor
 * @property {number} images
 * @property {number} share
 * @property {{ mean: number, deviation: number }} frechet
 * @property {{ mean: number, deviation: number }} variance
 */

/**
 * @param {string} path
 * @returns {{ gaussian: Gaussian, facts: Facts }}
 */
export function readMoments(path) {
  const { metadata, bytes } = readSafetensors(path);
  const mean = Float64Array.from(new Float32Array(bytes("mean").buffer));
  // BF16 is the upper half of an f32.
  const components = new Uint16Array(bytes("components").buffer);
  const values = new Float32Array(Uint32Array.from(components, (bits) => bits * 2 ** 16).buffer);
  const factor = Matrix.from1DArray(values.length / mean.length, mean.length, values);
  return { gaussian: { mean, factor }, facts: JSON.parse(String(metadata.facts)) };
}

/**
 * @param {string} path
 * @param {Gaussian} gaussian
 * @param {Facts} facts
 */
export function writeMoments(path, { mean, factor }, facts) {
  const rounded = (/** @type {number} */ bits) => (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
  const components = Uint16Array.from(new Uint32Array(Float32Array.from(factor.to1DArray()).buffer), rounded);
  const middle = 4 * mean.length;
  const header = {
    __metadata__: { facts: JSON.stringify(facts) },
    mean: { dtype: "F32", shape: [mean.length], data_offsets: [0, middle] },
    components: {
      dtype: "BF16",
      shape: [factor.rows, factor.columns],
      data_offsets: [middle, middle + components.byteLength],
    },
  };
  const text = JSON.stringify(header);
  const padded = Buffer.from(text.padEnd(8 * Math.ceil(text.length / 8)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const data = [Float32Array.from(mean), components].map((array) => Buffer.from(array.buffer));
  writeFileSync(path, Buffer.concat([length, padded, ...data]));
}

/**
 * @param {string} path
 * @returns {{ metadata: Record<string, string>, shape: (name: string) => number[], bytes: (name: string) => Uint8Array<ArrayBuffer> }}
 */
export function readSafetensors(path) {
  const file = readFileSync(path);
  const end = 8 + Number(file.readBigUInt64LE(0));
  const { __metadata__: metadata = {}, ...tensors } = JSON.parse(file.toString("utf8", 8, end));
  const bytes = (/** @type {string} */ name) => {
    const [from, to] = tensors[name].data_offsets;
    return Uint8Array.from(file.subarray(end + from, end + to));
  };
  return { metadata, shape: (name) => tensors[name].shape, bytes };
}
