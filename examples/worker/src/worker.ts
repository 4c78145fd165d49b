import { type DiffusionPipeline, loadPipeline } from "ddim-webgpu";
import type { Options, Reply, Request } from "./messages.ts";

const runs = new Map<number, AbortController>();
let loading: Promise<DiffusionPipeline> | undefined;

/** One model for all runs, loaded with the first; after a failure the next run tries again. */
function pipeline(): Promise<DiffusionPipeline> {
  loading ??= loadPipeline("pixel-avatars-16").catch((error) => {
    loading = undefined;
    throw error;
  });
  return loading;
}

const reply = (message: Reply, transfer: Transferable[] = []) => postMessage(message, { transfer });

async function generate(id: number, options: Options) {
  const run = new AbortController();
  runs.set(id, run);
  try {
    const pipe = await pipeline();
    const { images } = await pipe.generate({
      ...options,
      signal: run.signal,
      onStep: ({ index, of }) => reply({ type: "progress", id, done: index + 1, of }),
    });
    reply(
      { type: "images", id, images },
      images.map(({ data }) => data.buffer),
    );
  } catch (error) {
    reply({ type: "error", id, error: error as Error });
  } finally {
    runs.delete(id);
  }
}

addEventListener("message", ({ data }: MessageEvent<Request>) => {
  if (data.type === "generate") generate(data.id, data.options);
  else runs.get(data.id)?.abort();
});
