/** One line of progress on a terminal, and nothing anywhere else. */
import type { LoadEvent } from "../pipeline/types.ts";
import { printable } from "../runtime/printable.ts";
import type { Terminal } from "./io.ts";

export interface Progress {
  /** A new label begins a new bar in the same line. */
  show(label: string, done: number, of: number): void;
  /** Clears the line; what is written next begins on it. */
  stop(): void;
}

/** The bar's library is loaded only where a bar is drawn. */
export async function openProgress(terminal: Terminal): Promise<Progress> {
  if (!terminal.interactive) return { show() {}, stop() {} };
  const { SingleBar } = await import("cli-progress");
  let bar: InstanceType<typeof SingleBar> | undefined;
  let current = "";
  return {
    show(label, done, of) {
      if (label !== current) {
        bar?.stop();
        bar = new SingleBar({
          format: "{label} [{bar}] {value}/{total}, {eta_formatted} left",
          stream: terminal.io.stderr as NodeJS.WriteStream,
          clearOnComplete: true,
          hideCursor: null,
          barsize: 24,
          etaBuffer: 50,
        });
        bar.start(of, done, { label: printable(label) });
        current = label;
      }
      bar?.update(done);
    },
    stop() {
      bar?.stop();
      bar = undefined;
      current = "";
    },
  };
}

/** What loading reports as one bar: weights are read and kernels compiled side by side. */
export function showLoading(progress: Progress): (event: LoadEvent) => void {
  const parts = { download: 0, compile: 0 };
  return (event) => {
    if (event.type === "ready") return progress.stop();
    if (event.type === "tune") return progress.show("measuring methods", event.done, event.of);
    parts[event.type] = event.type === "download" ? event.loaded / event.total : event.done / event.of;
    progress.show("loading %", Math.floor(50 * (parts.download + parts.compile)), 100);
  };
}
