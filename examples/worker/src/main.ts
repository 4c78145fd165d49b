import { generate } from "./generate.ts";

const find = <T extends Element>(selector: string) => document.querySelector(selector) as T;
const canvas = find<HTMLCanvasElement>("canvas");
const status = find<HTMLElement>("[role=status]");
const progress = find<HTMLProgressElement>("progress");
const start = find<HTMLButtonElement>("#generate");
const stop = find<HTMLButtonElement>("#stop");

function setBusy(busy: boolean) {
  start.disabled = busy;
  stop.disabled = !busy;
}

start.addEventListener("click", async () => {
  const run = new AbortController();
  stop.onclick = () => run.abort();
  setBusy(true);
  status.textContent = "generating";
  try {
    const [image] = await generate(
      { count: 1, classes: [2], steps: 20 },
      {
        signal: run.signal,
        onProgress(done, of) {
          progress.value = done / of;
        },
      },
    );
    if (!image) return;
    Object.assign(canvas, { width: image.width, height: image.height });
    canvas.getContext("2d")?.putImageData(new ImageData(image.data, image.width, image.height), 0, 0);
    status.textContent = "ready";
  } catch (error) {
    status.textContent = run.signal.aborted ? "stopped" : (error as Error).message;
  } finally {
    setBusy(false);
  }
});
