/** The process around a run: streams, signals and the exit. `bin/ddim.js` imports this file. */
import { closeSync } from "node:fs";
import { constants } from "node:os";
import process from "node:process";
import { isatty } from "node:tty";
import { openNodeDevice } from "../node/device.ts";
import { codeOf } from "../node/file.ts";
import { Terminal } from "./io.ts";
import { run } from "./run.ts";

const interruption = new AbortController();
/** What a shell shows of a process that a signal has ended; here the process ends itself, and tidies up before. */
let interrupted = 0;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
  process.on(signal, () => {
    const again = interruption.signal.aborted;
    interrupted = 128 + constants.signals[signal];
    if (again) process.exit(interrupted);
    interruption.abort(new DOMException("interrupted", "AbortError"));
  });

const { stdout, stderr, env } = process;
// Whoever reads may have enough, as `head` does, or be gone with its terminal: nobody is told anything then, and the files
// that a command makes are made all the same.
stderr.on("error", () => {});
let unprinted: NodeJS.ErrnoException | undefined;
stdout.on("error", (error) => {
  const isGone = codeOf(error) === "EPIPE" || (stdout.isTTY && codeOf(error) === "EIO");
  if (!isGone) unprinted ??= error;
});

// At its end Node puts terminals back as they were, and aborts where one is gone.
const terminals = [0, 1, 2].filter((fd) => isatty(fd));
process.on("exit", () => {
  for (const fd of terminals) if (!isatty(fd)) closeSync(fd);
});

const io = { stdout, stderr, env, signal: interruption.signal, openDevice: openNodeDevice };
let code: number = await run(process.argv.slice(2), io);

// An open Dawn instance keeps Node alive, so the exit is explicit, and therefore the streams are drained first.
const drained = (stream: NodeJS.WriteStream) => new Promise((resolve) => stream.write("", resolve));
await drained(stdout);
if (unprinted && code === 0) {
  new Terminal(io, {}).failure(`stdout cannot be written to (${codeOf(unprinted)})`);
  code = 1;
}
await drained(stderr);
process.exit(interruption.signal.aborted && code === 130 ? interrupted : code);
