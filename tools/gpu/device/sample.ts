/** Whole runs: a step against one evaluation, the processor's time of the host, and a picture in $OUT. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { attempt, inputsOf, left, networks, openPipeline, rehearsal, root, tell } from "./stage.ts";

const steps = rehearsal ? 5 : 50;
for (const net of networks.filter(({ context, shape: [, , width] }) => !context && width <= 32))
  for (const dtype of ["f32", "f16"] as const)
    for (const count of rehearsal ? [1] : [1, 16])
      await attempt({ network: net.name, dtype, count }, async () => {
        if (left() < 3000) throw new Error("not begun, time was up");
        const { device, pipe } = await openPipeline(net, dtype);
        const options = { count, batch: count, steps, seed: 1, classes: net.shipped && [0, 1, 2, 3] };
        const time = async () => {
          const { submits } = device.counters;
          const used = process.cpuUsage();
          const began = performance.now();
          await pipe.generate(options);
          const ms = performance.now() - began;
          const { user, system } = process.cpuUsage(used);
          return { ms, hostMs: (user + system) / 1000, submits: device.counters.submits - submits };
        };
        const first = await time();
        const runs = [await time(), await time(), await time()];
        const { ms, hostMs, submits } = runs.reduce((a, b) => (a.ms < b.ms ? a : b));
        const evaluation = await pipe.network.benchmark(inputsOf(net, count), rehearsal ? 0.2 : 0.7);
        tell(
          {
            network: net.name,
            dtype,
            count,
            steps,
            ms,
            firstMs: first.ms,
            hostMs,
            submits,
            evaluationMs: evaluation.ms,
          },
          `${net.name} ${dtype}, ${count} in ${steps} steps: ${ms.toFixed(1)} ms (first ${first.ms.toFixed(0)}), beside evaluations ` +
            `${(100 * (1 - (evaluation.ms * steps) / ms)).toFixed(0)} %; a step ${(hostMs / steps).toFixed(2)} ms of processor, ${submits} submits`,
        );
        pipe.dispose();
        device.dispose();
      });
const picture = join(process.env.OUT ?? "/tmp", "picture.png");
const args = [
  "sample",
  "-m",
  join(root, "weights/pixel-avatars-16"),
  "-n",
  "4",
  "--seed",
  "1",
  "--dtype",
  "f16",
  "-o",
  picture,
];
const { status } = spawnSync(process.execPath, [join(root, "bin/ddim.js"), ...args], { stdio: "inherit" });
tell({ picture, status }, `${picture}: exit ${status}`);
process.exit();
