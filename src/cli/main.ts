/** The process around a run: streams, Ctrl-C and the exit. `bin/ddim.js` imports this file. */
import process from "node:process";
import { openNodeDevice } from "../node/device.ts";
import { run } from "./run.ts";

const INTERRUPTED = 130;

const interruption = new AbortController();
process.on("SIGINT", () => {
  if (interruption.signal.aborted) process.exit(INTERRUPTED);
  interruption.abort(new DOMException("interrupted", "AbortError"));
});

// The reader of our output may have enough, as `head` does. That is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));

const { stdout, stderr, env } = process;
const code = await run(process.argv.slice(2), {
  stdout,
  stderr,
  env,
  signal: interruption.signal,
  openDevice: openNodeDevice,
});

// An open Dawn instance keeps Node alive, so the exit is explicit, and therefore the streams are drained first.
for (const stream of [stdout, stderr]) await new Promise((resolve) => stream.write("", resolve));
process.exit(code);
