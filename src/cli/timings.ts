/** GPU times: the table of `-v` and the file of `--trace`. */
import type { Device } from "../runtime/device.ts";
import { chromeTrace, type KernelTiming, summarise } from "../runtime/profiler.ts";
import type { TraceFlag } from "./flags.ts";
import type { Terminal } from "./io.ts";
import { writeFile } from "./output.ts";
import { table } from "./table.ts";

/** Whether a command is to measure its kernels: `--trace` insists, `-v` takes what the device can do. */
export const wantsTimings = (flags: TraceFlag & { verbose?: boolean }, device: Device): boolean =>
  flags.trace !== undefined || (flags.verbose === true && device.capabilities.timestamps);

export function reportTimings(terminal: Terminal, { trace }: TraceFlag, timings: readonly KernelTiming[]): void {
  const cells = summarise(timings).map(({ kernel, calls, ms, gflops, gbytes }) => [
    kernel,
    calls,
    ms.toFixed(3),
    gflops.toFixed(1),
    gbytes.toFixed(1),
  ]);
  terminal.detail(table(["kernel", "calls", "ms", "GFLOP/s", "GB/s"], cells));
  if (trace === undefined) return;
  writeFile(trace, chromeTrace(timings));
  terminal.note(`${trace}: ${timings.length} dispatches`);
}
