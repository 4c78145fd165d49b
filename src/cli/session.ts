/** A pipeline for the length of one command: whatever happens, everything on the GPU is freed again. */

import type { Model } from "../pipeline/model.ts";
import { createPipeline, type DiffusionPipeline } from "../pipeline/pipeline.ts";
import type { CommonFlags } from "./flags.ts";
import type { Terminal } from "./io.ts";
import { openProgress, type Progress, showLoading } from "./progress.ts";

export interface Session {
  readonly pipeline: DiffusionPipeline;
  /** Milliseconds from opening the device to a loaded model. */
  readonly loadMs: number;
  readonly progress: Progress;
}

export async function withPipeline<T>(
  terminal: Terminal,
  flags: CommonFlags,
  model: Model,
  use: (session: Session) => Promise<T>,
): Promise<T> {
  const { signal } = terminal.io;
  const progress = await openProgress(terminal);
  const start = performance.now();
  signal.throwIfAborted();
  const device = await terminal.io.openDevice({ adapter: flags.device });
  try {
    terminal.detail(`adapter: ${device.name}`);
    const pipeline = await createPipeline(model, {
      device,
      dtype: flags.dtype,
      signal,
      onProgress: showLoading(progress),
    });
    try {
      return await use({ pipeline, loadMs: performance.now() - start, progress });
    } finally {
      pipeline.dispose();
    }
  } finally {
    progress.stop();
    device.dispose();
  }
}
