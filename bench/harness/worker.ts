/** Our engine as a process of the benchmarks: commands as JSON lines on stdin, see protocol.ts. */
import { writeFileSync } from "node:fs";
import process from "node:process";
import { packageVersion } from "../../src/cli/package.ts";
import { threadsFor } from "../../src/cli/software/threads.ts";
import { openNodeDevice } from "../../src/node/device.ts";
import type { Device } from "../../src/runtime/device.ts";
import { totals } from "../../src/runtime/profiler.ts";
import { measureLimits } from "../limits.ts";
import { openKernel } from "./kernelJob.ts";
import { type OpenFor, openNetwork, openSampler } from "./networkJob.ts";
import { EngineError, type Job, type OpenJob, serve } from "./protocol.ts";

let opened: Promise<Device> | undefined;

/** The process's device. A network's comes with the threads that the command line would give it. */
function openDevice(threads?: number): Promise<Device> {
  opened ??= openNodeDevice({ adapter: process.env.DDIM_BENCH_ADAPTER, threads });
  return opened;
}

const openFor: OpenFor = (model, load) => openDevice(threadsFor(model, load));

async function openJob(job: Job): Promise<OpenJob> {
  if (job.kind === "kernel" && job.kernel) return openKernel(await openDevice(), job.kernel);
  if (job.kind === "network") return openNetwork(openFor, job);
  if (job.kind === "sampler") return openSampler(openFor, job);
  throw new EngineError(`cannot open a job of kind ${job.kind}`);
}

let open: OpenJob | undefined;

function current(): OpenJob {
  if (!open) throw new EngineError("nothing is open");
  return open;
}

async function close(): Promise<void> {
  await open?.dispose();
  open = undefined;
}

await serve(
  {
    async hello() {
      const device = await openDevice();
      const { vendor, description } = device.gpu.adapterInfo;
      return {
        version: packageVersion(),
        settings: {
          "Dawn toggles": "release: no validation, no robustness checks",
          threads: "one for the smallest networks on llvmpipe, else the driver's",
        },
        env: Object.fromEntries(
          ["VK_ICD_FILENAMES", "XDG_RUNTIME_DIR"].flatMap((key) => {
            const value = process.env[key];
            return value === undefined ? [] : [[key, value]];
          }),
        ),
        adapter: { name: device.name, vendor, driver: description, software: device.capabilities.software },
      };
    },
    async open({ job }) {
      await close();
      const start = performance.now();
      open = await openJob(job);
      return { modes: open.modes, ms: performance.now() - start };
    },
    run: async ({ times, mode }) => ({ ms: await current().run(times, mode) }),
    async output({ path }) {
      const data = await current().output();
      writeFileSync(path, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      return {};
    },
    async profile() {
      const job = current();
      const possible = job.profile && (await openDevice()).capabilities.timestamps;
      return { kernels: possible ? totals((await job.profile?.()) ?? []) : null };
    },
    limits: async () => measureLimits(await openDevice()),
    async close() {
      await close();
      return {};
    },
    stats: async () => ({
      // Some 90 MB of it are the bundler's, which runs the sources (scripts/sources.mjs).
      peakHostBytes: process.resourceUsage().maxRSS * 1024,
      peakGpuBytes: (await openDevice()).counters.peakBytes,
    }),
  },
  process.stdin,
  (line) => process.stdout.write(`${line}\n`),
);
process.exit(0);
