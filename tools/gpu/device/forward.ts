/**
 * One evaluation of each network, timed, with the GPU times of its kernels: a process per network and type, which this file is
 * as well. Then f16 against f32, and an image alone against the same one in a batch.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { table } from "../../../src/cli/table.ts";
import type { NetworkDType } from "../../../src/pipeline/types.ts";
import { summarise } from "../../../src/runtime/profiler.ts";
import { nmse } from "../../../test/reference/tensor.ts";
import {
  attempt,
  batches,
  inputsOf,
  left,
  networks,
  openPipeline,
  rehearsal,
  type StageNetwork,
  tell,
} from "./stage.ts";

const DTYPES = ["f16", "f32"] as const;
const fileOf = (name: string, dtype: string, n: number) => join(tmpdir(), `gpu-forward-${name}-${dtype}-${n}.bin`);

async function measure(net: StageNetwork, dtype: NetworkDType): Promise<void> {
  const { device, pipe } = await openPipeline(net, dtype);
  const loadMs = performance.now();
  for (const n of batches)
    await attempt({ network: net.name, dtype, batch: n }, async () => {
      const inputs = inputsOf(net, n);
      const began = performance.now();
      const { data } = await pipe.network.forward(inputs);
      const firstMs = performance.now() - began;
      const bad = data.filter((value) => !Number.isFinite(value)).length;
      writeFileSync(fileOf(net.name, dtype, n), data);
      const timing = await pipe.network.benchmark(inputs, rehearsal ? 0.3 : 1.5);
      const timings = device.capabilities.timestamps ? await pipe.network.profile(inputs) : [];
      const kernels = summarise(timings);
      const slowest = timings.toSorted((a, b) => b.ms - a.ms).slice(0, 12);
      tell(
        { network: net.name, dtype, batch: n, ...timing, loadMs, firstMs, bad, adapter: device.name, kernels, slowest },
        `${net.name} ${dtype} batch ${n}: ${timing.ms.toFixed(3)} ms (least ${timing.msMin.toFixed(3)}), of kernels ` +
          `${kernels.reduce((sum, { ms }) => sum + ms, 0).toFixed(3)}; first ${firstMs.toFixed(0)} ms, ` +
          `${Math.round(timing.peakBytes / 1e6)} MB${bad ? `, ${bad} NOT FINITE` : ""}`,
      );
      const rates = (it: { gflops: number; gbytes: number }) => [it.gflops.toFixed(0), it.gbytes.toFixed(0)];
      const cells = kernels.map((it) => [it.kernel, it.calls, it.ms.toFixed(3), ...rates(it)]);
      console.log(table(["kernel", "calls", "ms", "GFLOP/s", "GB/s"], cells).join("\n"));
      for (const { kernel, variant, label, ms } of slowest)
        console.log(`  ${ms.toFixed(4)} ms ${kernel}/${variant} ${label}`);
    });
  process.exit();
}

const floats = (file: string) => {
  const { buffer, byteOffset, byteLength } = readFileSync(file);
  return new Float32Array(buffer, byteOffset, byteLength / 4);
};

function compare(name: string): void {
  for (const n of batches) {
    const [half, full] = DTYPES.map((dtype) => fileOf(name, dtype, n)) as [string, string];
    if (!existsSync(half) || !existsSync(full)) continue;
    const error = nmse(floats(half), floats(full));
    tell(
      { network: name, batch: n, nmse: error },
      `${name} batch ${n}: f16 against f32 NMSE ${error.toExponential(2)}`,
    );
  }
  const [one, many] = batches;
  for (const dtype of many ? DTYPES : []) {
    const [alone, within] = [fileOf(name, dtype, one as number), fileOf(name, dtype, many as number)];
    if (!existsSync(alone) || !existsSync(within)) continue;
    const together = floats(within);
    const differing = floats(alone).filter((value, i) => !Object.is(value, together[i])).length;
    tell(
      { network: name, dtype, batch: many, differing },
      `${name} ${dtype}: ${differing} values differ in a batch of ${many}`,
    );
  }
}

const self = fileURLToPath(import.meta.url);
const [name, dtype] = process.argv.slice(2);
const net = networks.find((it) => it.name === name);
if (net) await measure(net, dtype as NetworkDType);
for (const { name } of networks) {
  for (const dtype of DTYPES) {
    const timeout = Math.min(left(), 60_000);
    const args = [...process.execArgv, self, name, dtype];
    const began =
      timeout > 5000 && spawnSync(process.execPath, args, { stdio: "inherit", timeout, killSignal: "SIGKILL" });
    const error = !began
      ? "not begun, time was up"
      : (began.signal ?? (began.status ? `exit ${began.status}` : undefined));
    if (error) tell({ network: name, dtype, error }, `${name} ${dtype}: ${error}`);
  }
  compare(name);
}
