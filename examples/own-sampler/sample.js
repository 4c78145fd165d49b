/** `npm start`: the same sixteen faces by DDIM and by the two rules, each in one picture. */
import { writeFile } from "node:fs/promises";
import { encodePng, grid, loadPipeline } from "ddim-webgpu/node";
import { eulerAncestral, heun } from "./rules.js";

const pipe = await loadPipeline("pixel-avatars-16");
for (const [name, sampler] of Object.entries({ ddim: "ddim", euler: eulerAncestral(), heun })) {
  const { images, ms } = await pipe.generate({ sampler, steps: 20, count: 16, seed: 7 });
  await writeFile(`${name}.png`, await encodePng(grid(images, 4)));
  process.stdout.write(`${name}.png: ${Math.round(ms.total)} ms\n`);
}
pipe.dispose();
