/** A pipeline for the length of one command: whatever happens, everything on the GPU is freed again. */

import { packedFolder } from "../node/packedFolder.ts";
import { tuningFolder } from "../node/tuningFolder.ts";
import { createPipeline } from "../pipeline/load.ts";
import type { Model } from "../pipeline/model.ts";
import type { DiffusionPipeline } from "../pipeline/pipeline.ts";
import type { LoadEvent } from "../pipeline/types.ts";
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

export async function withPipeline<T>(
  terminal: Terminal,
  flags: PipelineFlags,
  { model, load }: Work,
  use: (session: Session) => Promise<T>,
): Promise<T> {
  const { signal } = terminal.io;
  const progress = await openProgress(terminal);
  const { cache } = flags;
  const folder = cacheOf(flags, terminal.io.env);
  const start = performance.now();
  signal.throwIfAborted();
  await model.source.download?.(signal);
  const device = await terminal.io.openDevice({
    adapter: flags.device,
    matrices: flags.dtype === "f16",
    threads: load && threadsFor(model, load),
  });
  try {
    terminal.detail(`adapter: ${device.name}`);
    const show = showLoading(progress);
    const opened = performance.now();
    let compileMs = 0;
    const onProgress = (event: LoadEvent) => {
      if (event.type === "compile") compileMs = performance.now() - opened;
      show(event);
    };
    const pipeline = await createPipeline(model, {
      device,
      dtype: flags.dtype,
      precision: flags.precision,
      tuning: folder === undefined ? undefined : tuningFolder(folder, (text) => terminal.warn([text])),
      packed: cache === undefined ? undefined : packedFolder(cache, (text) => terminal.warn([text])),
      memory: flags.memory,
      nonFinite: flags.nonFinite,
      onWarning: (text) => terminal.warn([text]),
      signal,
      onProgress,
    });
    try {
      return await use({ pipeline, loadMs: performance.now() - start, compileMs, progress });
    } finally {
      pipeline.dispose();
    }
  } finally {
    progress.stop();
    device.dispose();
  }
}
