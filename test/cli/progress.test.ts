import { expect, test } from "vitest";
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
