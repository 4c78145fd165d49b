/** `node sample.js [folder]`: the same eight faces by DDIM and by the two rules, each in one picture. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { encodePng, enlarge, grid } from "ddim-webgpu";
import { loadPipeline } from "ddim-webgpu/node";
import { eulerAncestral, heun } from "./rules.js";

const folder = process.argv[2] ?? ".";
await mkdir(folder, { recursive: true });
const pipeline = await loadPipeline("pixel-avatars-16");
try {
  for (const [name, sampler] of Object.entries({ ddim: "ddim", euler: eulerAncestral(), heun })) {
    const { images, ms } = await pipeline.generate({ sampler, steps: 20, spacing: "trailing", count: 8, seed: 7 });
    await writeFile(join(folder, `${name}.png`), await encodePng(enlarge(grid(images, 4), 4)));
    process.stdout.write(`${name}.png: ${ms.total.toFixed(0)} ms\n`);
  }
} finally {
  pipeline.dispose();
}
