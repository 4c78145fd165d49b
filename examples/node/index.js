import { writeFile } from "node:fs/promises";
import { encodePng, grid, loadPipeline } from "ddim-webgpu/node";

const pipe = await loadPipeline("pixel-avatars-16");
const { images, seed } = await pipe.generate({
  count: 16, steps: 20, // image i takes class i % 4
  signal: AbortSignal.timeout(60_000), // acts within a step
  onStep: ({ index, of }) => console.error(`step ${index + 1} of ${of}`),
});
await writeFile("faces.png", await encodePng(grid(images, 4), { Comment: `seed ${seed}` }));
pipe.dispose(); // or `using pipe = …`, in TypeScript and from Node 24 on
