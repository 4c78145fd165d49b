// Writes the weights that test/golden has as a recipe, test/golden/weights.json: `node scripts/goldens.mjs`; tests begin with it. Files that
// are right already stay untouched. test/golden/seeded.py makes the same numbers, bit for bit.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const FOLDER = fileURLToPath(new URL("../test/golden", import.meta.url));

/**
 * @typedef {"F32" | "F16" | "BF16"} DType
 * @typedef {readonly [shape: readonly number[], mean: number, width: number]} Tensor values lie in mean ± width / 2
 * @typedef {{ dtype: DType, tensors: Readonly<Record<string, Tensor>> }} Recipe of a safetensors file
 * @typedef {{ dtype: DType, tensors: Recipe["tensors"] | string }} Entry the name of a file has that one's tensors
 */

/** A permutation of 32-bit integers in which every bit of the input changes half of the output (Wellons' lowbias32). @param {number} x */
function mix(x) {
  let h = x;
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  return h ^ (h >>> 16);
}

/** Uniform numbers, a function of the tensor's name and the index. @type {(name: string, tensor: Tensor) => Float32Array} */
export function valuesOf(name, [shape, mean, width]) {
  let key = 0;
  for (const byte of new TextEncoder().encode(name)) key = mix(key ^ byte) + 1;
  const count = shape.reduce((a, b) => a * b, 1);
  return Float32Array.from({ length: count }, (_, i) => {
    const uniform = ((mix(mix(i ^ key) ^ 0x5bd1e995) >>> 8) + 0.5) / 0x1000000;
    return mean + width * (uniform - 0.5);
  });
}

/** Rounds half to even. @type {(values: Float32Array, dtype: DType) => Uint8Array} */
export function stored(values, dtype) {
  if (dtype === "F32") return new Uint8Array(values.buffer);
  const bits = new Uint32Array(values.buffer);
  const halves = Uint16Array.from(bits, (word, i) => {
    if (dtype === "BF16") return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
    const sign = (word >>> 16) & 0x8000;
    const size = Math.abs(/** @type {number} */ (values[i]));
    // Steps of 2⁻²⁴ below float16's normal numbers; the sum leaves whole ones.
    if (size < 2 ** -14) return sign | (size * 2 ** 24 + 2 ** 52 - 2 ** 52);
    return sign | (((word & 0x7fffffff) - 0x38000000 + 0xfff + ((word >>> 13) & 1)) >>> 13);
  });
  return new Uint8Array(halves.buffer);
}

/** @param {Recipe} recipe */
function fileOf({ dtype, tensors }) {
  /** @type {Record<string, object>} */
  const header = { __metadata__: { format: "pt" } };
  const parts = [];
  let end = 0;
  for (const [name, tensor] of Object.entries(tensors)) {
    const bytes = stored(valuesOf(name, tensor), dtype);
    header[name] = { dtype, shape: tensor[0], data_offsets: [end, end + bytes.length] };
    end += bytes.length;
    parts.push(bytes);
  }
  const text = JSON.stringify(header);
  const padded = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([length, padded, ...parts]);
}

/** @type {(recipes: Readonly<Record<string, Entry>>, tensors: Entry["tensors"]) => Recipe["tensors"]} */
const tensorsOf = (recipes, tensors) =>
  typeof tensors === "string" ? tensorsOf(recipes, recipes[tensors]?.tensors ?? {}) : tensors;

/** @param {string} [folder] */
export function writeGoldenWeights(folder = FOLDER) {
  /** @type {Record<string, Entry>} */
  const recipes = JSON.parse(readFileSync(join(folder, "weights.json"), "utf8"));
  for (const [name, { dtype, tensors }] of Object.entries(recipes)) {
    const path = join(folder, name);
    const file = fileOf({ dtype, tensors: tensorsOf(recipes, tensors) });
    try {
      if (readFileSync(path).equals(file)) continue;
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== "ENOENT") throw error;
    }
    mkdirSync(dirname(path), { recursive: true });
    // Whole at once: others may be reading it.
    const unfinished = `${path}.${process.pid}`;
    writeFileSync(unfinished, file);
    renameSync(unfinished, path);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeGoldenWeights();
