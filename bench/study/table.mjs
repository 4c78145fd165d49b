// The study's numbers: node bench/study/table.mjs WORK RESULTS.json
//
// Measures the images that bench/study/sample.mjs has put into the folder WORK, as many of them as every cell has, writes
// the numbers to RESULTS.json and prints them as the tables of docs/study.md.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { cells } from "./cells.mjs";
import { BATCH, fileOf, fromBytes } from "./files.mjs";
import { readMoments } from "./moments.mjs";
import { finest, measure, tables, wholeBlocks } from "./results.mjs";
import { spread } from "./statistics.mjs";

const [work, output] = process.argv.slice(2);
if (!work || !output) {
  console.error("usage: node bench/study/table.mjs WORK RESULTS.json");
  process.exit(2);
}
const { gaussian, facts } = readMoments(fileURLToPath(new URL("pixel-avatars-16.safetensors", import.meta.url)));
/** @type {import("./results.mjs").ImagesOf} */
const imagesOf = (cell, block, seed) => {
  const path = join(work, fileOf({ ...cell, block, seed }));
  return existsSync(path) ? fromBytes(readFileSync(path), gaussian.mean.length) : undefined;
};
const blocks = wholeBlocks(imagesOf);
if (blocks === 0) {
  console.error(`${work}: not a single batch of every cell is there yet`);
  process.exit(1);
}
const rounded = (/** @type {unknown} */ value) => (typeof value === "number" ? Number(value.toPrecision(6)) : value);
const measured = cells().map((cell) =>
  Object.fromEntries(
    Object.entries({ ...cell, ...measure(cell, imagesOf, blocks, gaussian) }).map(([name, value]) => [
      name,
      rounded(value),
    ]),
  ),
);
const adapter = readFileSync(join(work, "adapter.txt"), "utf8").trim();
/** @type {any} */
const results = {
  adapter,
  images: blocks * BATCH,
  spread: rounded(spread(finest(0, imagesOf, blocks))),
  training: facts,
  cells: measured,
};
writeFileSync(output, `${JSON.stringify(results, null, 1)}\n`);
for (const [name, table] of Object.entries(tables(results))) console.log(`${name}\n\n${table}\n`);
