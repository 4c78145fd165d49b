// An engine that computes nothing: node fakeEngine.mjs NAME LOG RESULT… Prints noise, as libraries do, answers the
// protocol, writes RESULT as its output and NAME into LOG at every measured run.
import { appendFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";

const [name = "", log = "", ...result] = process.argv.slice(2);
const say = (/** @type {string} */ line) => process.stdout.write(`${line}\n`);

/** @type {Record<string, (args: any) => object>} */
const handlers = {
  hello: () => ({ version: "1", settings: {} }),
  open: ({ job }) => {
    if (job.dtype === "f16") throw new Error("no halves here");
    return { modes: ["host"], ms: 1 };
  },
  output: ({ path }) => {
    writeFileSync(path, new Uint8Array(Float32Array.from(result.map(Number)).buffer));
    return {};
  },
  run: ({ times }) => {
    if (times > 1) appendFileSync(log, name);
    return { ms: name === "A" ? 10 : 20 };
  },
  stats: () => ({ peakHostBytes: 1 }),
  profile: () => ({ kernels: null }),
  limits: () => process.exit(3),
  close: () => ({}),
};

say("a library says hello");
for await (const line of createInterface({ input: process.stdin })) {
  const { id, command, ...args } = JSON.parse(line);
  if (command === "stall") continue;
  try {
    say(JSON.stringify({ id, result: handlers[command]?.(args) }));
  } catch (error) {
    say(JSON.stringify({ id, error: error instanceof Error ? error.message : String(error) }));
  }
}
