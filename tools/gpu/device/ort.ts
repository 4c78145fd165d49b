/**
 * onnxruntime's WebGPU provider on the same weights, inputs and adapter, by `ddim bench`, which compares results before it
 * times them. GPU_ONLY: other workloads.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import type { Results } from "../../../bench/results.ts";
import { attempt, left, rehearsal, root, tell } from "./stage.ts";

const USUAL = "unet/stable-diffusion-v1-5/f16,unet/ddpm-cifar10-32,unet/pixel-avatars-16,unet/crawl-tiles-32";
const { GPU_ONLY = rehearsal ? "unet/pixel-avatars-16/f16" : USUAL } = process.env;
const seconds = rehearsal ? "1" : "4";
const there = existsSync(join(root, "bench/peers/node_modules/onnxruntime-node"));
if (!there) tell({ error: "not there" }, "onnxruntime did not travel: pack.sh found no room for it");
for (const only of there ? GPU_ONLY.split(",") : [])
  await attempt({ workload: only }, async () => {
    if (left() < 8000) throw new Error("not begun, time was up");
    const output = join(tmpdir(), `gpu-ort-${only.replaceAll("/", "-")}.json`);
    const engines = "onnxruntime-webgpu,onnxruntime-cpu";
    const args = ["bench", "run", "--only", only, "--engines", engines, "--seconds", seconds, "-o", output, "-v"];
    const { status, signal } = spawnSync(
      process.execPath,
      [join(root, "bin/ddim.js"), ...args, ...(rehearsal ? ["--quick"] : [])],
      {
        cwd: root,
        stdio: "inherit",
        timeout: left(),
        killSignal: "SIGKILL",
      },
    );
    if (!existsSync(output)) throw new Error(`no results: ${signal ?? `exit ${status}`}`);
    const { rows } = JSON.parse(readFileSync(output, "utf8")) as Results;
    for (const result of rows)
      tell(
        { ...result },
        `${result.id} ${result.engine}: ${result.ms ? `${result.ms.median.toFixed(3)} ms` : result.status}`,
      );
  });
