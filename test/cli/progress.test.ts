import { expect, test, vi } from "vitest";
import { Terminal } from "../../src/cli/io.ts";
import { openProgress, showLoading } from "../../src/cli/progress.ts";

function terminal(isTTY: boolean, level = {}) {
  const written: string[] = [];
  const stderr = { isTTY, columns: 80, write: (text: string) => written.push(text) };
  const openDevice = async () => Promise.reject(new Error("not here"));
  const io = { stdout: stderr, stderr, env: {}, signal: new AbortController().signal, openDevice };
  return { written, terminal: new Terminal(io, level) };
}

test("a bar is drawn on a terminal only, and not with -q", async () => {
  for (const { written, terminal: quiet } of [terminal(false), terminal(true, { quiet: true })]) {
    const progress = await openProgress(quiet);
    progress.show("steps", 1, 2);
    progress.stop();
    expect(written).toEqual([]);
  }
});

test("a new label begins a new bar, and the line is cleared at the end", async () => {
  const { written, terminal: shown } = terminal(true);
  const progress = await openProgress(shown);
  const loading = showLoading(progress);
  loading({ type: "download", file: "a.safetensors", loaded: 10, total: 40 });
  loading({ type: "compile", done: 5, of: 10 });
  progress.show("steps", 5, 50);
  const text = written.join("");
  expect(text).toMatch(/loading % \[[^\]]+\] 12\/100/);
  expect(text).toMatch(/loading % \[[^\]]+\] 37\/100/);
  expect(text).toMatch(/steps \[[^\]]+\] 5\/50, .+ left/);
  progress.stop();
  const count = written.length;
  progress.stop();
  expect(written.length).toBe(count);
});

test("without a terminal there is a line every ten seconds, however long a step takes, and none with -q", async () => {
  vi.useFakeTimers();
  try {
    const { written, terminal: log } = terminal(false);
    const progress = await openProgress(log);
    progress.show("steps", 1, 50);
    vi.advanceTimersByTime(9_000);
    progress.show("steps", 7, 50);
    expect(written).toEqual([]);
    vi.advanceTimersByTime(21_000);
    expect(written).toEqual(["10", "20", "30"].map((s) => `steps 7/50, ${s} s so far\n`));
    progress.stop();
    progress.show("coding");
    vi.advanceTimersByTime(10_000);
    expect(written.at(-1)).toBe("coding, 40 s so far\n");
    progress.stop();
    vi.advanceTimersByTime(60_000);
    expect(written).toHaveLength(4);
    const { written: none, terminal: quiet } = terminal(false, { quiet: true });
    (await openProgress(quiet)).show("steps", 1, 2);
    vi.advanceTimersByTime(60_000);
    expect(none).toEqual([]);
  } finally {
    vi.useRealTimers();
  }
});
