import type { RgbaImage } from "ddim-webgpu";
import type { Options, Reply, Request } from "./messages.ts";

const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
let runs = 0;

interface Watching {
  signal?: AbortSignal;
  onProgress?: (done: number, of: number) => void;
}

/** Pictures from the worker. Several calls wait for each other there. */
export function generate(options: Options, { signal, onProgress }: Watching = {}): Promise<RgbaImage[]> {
  const id = runs++;
  const send = (message: Request) => worker.postMessage(message);
  const over = new AbortController();
  const ended = { signal: over.signal };
  return new Promise<RgbaImage[]>((resolve, reject) => {
    signal?.throwIfAborted();
    worker.addEventListener(
      "message",
      ({ data }: MessageEvent<Reply>) => {
        if (data.id !== id) return;
        if (data.type === "progress") onProgress?.(data.done, data.of);
        else if (data.type === "images") resolve(data.images);
        else reject(data.error);
      },
      ended,
    );
    worker.addEventListener("error", ({ message }) => reject(new Error(message || "the worker did not load")), ended);
    signal?.addEventListener("abort", () => send({ type: "abort", id }), ended);
    send({ type: "generate", id, options });
  }).finally(() => over.abort());
}
