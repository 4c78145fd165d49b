/** A pipeline for the length of one command: whatever happens, everything on the GPU is freed again. */

import { packedFolder } from "../node/packedFolder.ts";
import { tuningFolder } from "../node/tuningFolder.ts";
import { createPipeline } from "../pipeline/load.ts";
import type { Model } from "../pipeline/model.ts";
import type { DiffusionPipeline } from "../pipeline/pipeline.ts";
import type { LoadEvent } from "../pipeline/types.ts";
import type { Device } from "../runtime/device.ts";
import type { ModelSource } from "../weights/source.ts";
import { cacheOf, type DeviceFlags, type NumberFlags } from "./flags.ts";
import type { Terminal } from "./io.ts";
import { openProgress, type Progress, showLoading } from "./progress.ts";
import { type Load, threadsFor } from "./software/threads.ts";

export interface Session {
  readonly pipeline: DiffusionPipeline;
  /** Milliseconds from opening the device to a loaded model. */
  readonly loadMs: number;
  /** Milliseconds of that until the kernels were compiled, which goes on while weights are read. */
  readonly compileMs: number;
  readonly progress: Progress;
}

export interface PipelineFlags extends DeviceFlags, Partial<NumberFlags> {
  memory?: number;
}

export interface Work {
  readonly model: Model;
  /** What will be evaluated at once, where that is known beforehand. */
  readonly load?: Load;
}

/** A device for work on a model's files, and a progress bar beside it. @param threads as the driver has them, where undefined */
export async function withDevice<T>(
  terminal: Terminal,
  { device: adapter, dtype }: Pick<DeviceFlags, "device" | "dtype">,
  source: ModelSource,
  threads: number | undefined,
  use: (device: Device, progress: Progress) => Promise<T>,
): Promise<T> {
  const { signal } = terminal.io;
  const progress = await openProgress(terminal);
  try {
    signal.throwIfAborted();
    await source.download?.(signal);
    using device = await terminal.io.openDevice({ adapter, matrices: dtype === "f16", threads });
    terminal.detail(`adapter: ${device.name}`);
    return await use(device, progress);
  } finally {
    progress.stop();
  }
}

export async function withPipeline<T>(
  terminal: Terminal,
  flags: PipelineFlags,
  { model, load }: Work,
  use: (session: Session) => Promise<T>,
): Promise<T> {
  const { cache } = flags;
  const folder = cacheOf(flags, terminal.io.env);
  const warn = (text: string) => terminal.warn([text]);
  const start = performance.now();
  return withDevice(terminal, flags, model.source, load && threadsFor(model, load), async (device, progress) => {
    const show = showLoading(progress);
    const opened = performance.now();
    let compileMs = 0;
    using pipeline = await createPipeline(model, {
      device,
      dtype: flags.dtype,
      precision: flags.precision,
      tuning: folder === undefined ? undefined : tuningFolder(folder, warn),
      packed: cache === undefined ? undefined : packedFolder(cache, warn),
      memory: flags.memory,
      nonFinite: flags.nonFinite,
      onWarning: warn,
      signal: terminal.io.signal,
      onProgress(event: LoadEvent) {
        if (event.type === "compile") compileMs = performance.now() - opened;
        show(event);
      },
    });
    return await use({ pipeline, loadMs: performance.now() - start, compileMs, progress });
  });
}
