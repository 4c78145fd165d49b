/** How far the work is: one line that is drawn again on a terminal, a line every ten seconds in a log. */
import type { LoadEvent } from "../pipeline/types.ts";
import { printable } from "../runtime/printable.ts";
import type { Terminal } from "./io.ts";

export interface Progress {
  /** A new label begins a new bar in the same line. Without numbers the work is known to go on, and no more. */
  show(label: string, done?: number, of?: number): void;
  /** Clears the line; what is written next begins on it. */
  stop(): void;
}

const EVERY_MS = 10_000;

/** The bar's library is loaded only where a bar is drawn. */
export async function openProgress(terminal: Terminal): Promise<Progress> {
  if (terminal.level.quiet) return { show() {}, stop() {} };
  return terminal.interactive ? openBar(terminal) : openLines(terminal);
}

async function openBar(terminal: Terminal): Promise<Progress> {
  const { SingleBar } = await import("cli-progress");
  let bar: InstanceType<typeof SingleBar> | undefined;
  let current = "";
  return {
    show(label, done, of = 1) {
      const kind = `${label} ${done === undefined}`;
      if (kind !== current) {
        bar?.stop();
        bar = new SingleBar({
          format: `{label}${done === undefined ? " ..." : " [{bar}] {value}/{total}, {eta_formatted} left"}`,
          stream: terminal.io.stderr as NodeJS.WriteStream,
          clearOnComplete: true,
          hideCursor: null,
          barsize: 24,
          etaBuffer: 50,
        });
        bar.start(of, done ?? 0, { label: printable(label) });
        current = kind;
      }
      if (done !== undefined) bar?.update(done);
    },
    stop() {
      bar?.stop();
      bar = undefined;
      current = "";
    },
  };
}

/** The last that was shown, every ten seconds from the first on, however long a step takes. */
function openLines(terminal: Terminal): Progress {
  const began = performance.now();
  let timer: NodeJS.Timeout | undefined;
  let last = "";
  const write = () => terminal.note(`${last}, ${((performance.now() - began) / 1000).toFixed(0)} s so far`);
  return {
    show(label, done, of) {
      last = done === undefined ? label : `${label} ${done}/${of}`;
      timer ??= setInterval(write, EVERY_MS).unref();
    },
    stop() {
      clearInterval(timer);
      timer = undefined;
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
