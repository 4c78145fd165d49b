// The study's images: node bench/study/sample.mjs WORK [--images 64] [--seeds 3] [--model DIR]
//
// Every batch of sixteen becomes a file of its own in the folder WORK, so the command can be stopped and started again;
// what is there is not made again. `node bench/study/table.mjs WORK` makes the table of it.
import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import "../../scripts/sources.mjs";
import { classesInProportion, jobs, SPACINGS } from "./cells.mjs";
import { BATCH, describe, FIRST_SEED, fileOf, toBytes } from "./files.mjs";
import { readMoments } from "./moments.mjs";

const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    images: { type: "string", default: "64" },
    seeds: { type: "string", default: "3" },
    model: { type: "string", default: here("../../weights/pixel-avatars-16") },
  },
});
const [work] = positionals;
const [images, seeds] = [Number(values.images), Number(values.seeds)];
if (!work || !(images > 0) || images % BATCH !== 0 || !(seeds >= 1)) {
  console.error("usage: node bench/study/sample.mjs WORK [--images 64, a multiple of 16] [--seeds 3] [--model DIR]");
  process.exit(2);
}

const { loadPipeline } = await import("../../src/node/index.ts");
const pipeline = await loadPipeline(values.model);
const { facts } = readMoments(here("pixel-avatars-16.safetensors"));
const classes = classesInProportion(facts.classShares, images);
const shape = [3, 16, 16];
const size = shape.reduce((a, b) => a * b);

/** x_T of all images: the noise of the forward process's last timestep, where next to nothing is left of an image. */
const blank = { shape: [images, ...shape], data: new Float32Array(images * size) };
const start = pipeline.noise(blank, [999], { seed: FIRST_SEED });

mkdirSync(work, { recursive: true });
writeFileSync(join(work, "adapter.txt"), pipeline.device.name);
const open = jobs(images / BATCH, seeds).filter((job) => !existsSync(join(work, fileOf(job))));
const total = open.reduce((sum, { steps }) => sum + steps, 0);
let done = 0;
const began = performance.now();
for (const job of open) {
  const { eta, steps, spacing, block, seed } = job;
  const part = start.data.subarray(block * BATCH * size, (block + 1) * BATCH * size);
  const { samples } = await pipeline.generate({
    steps,
    eta,
    spacing: spacing === "all" ? "power:1" : SPACINGS[spacing],
    noise: { shape: [BATCH, ...shape], data: part },
    firstImage: block * BATCH,
    seed: FIRST_SEED + 1 + seed,
    classes: classes.slice(block * BATCH, (block + 1) * BATCH),
  });
  const path = join(work, fileOf(job));
  writeFileSync(`${path}.part`, toBytes(samples.data));
  renameSync(`${path}.part`, path);
  done += steps;
  const ms = (performance.now() - began) / done;
  const left = ((total - done) * ms) / 60_000;
  console.error(`${describe(job)}: ${ms.toFixed(0)} ms per step of ${BATCH} images, ${left.toFixed(0)} minutes left`);
}
pipeline.dispose();
