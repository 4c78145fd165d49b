/** The command line as a process of its own. */
import { type StdioOptions, spawn } from "node:child_process";
import { resolve } from "node:path";
import process from "node:process";

export const BIN = resolve("bin/ddim.js");

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Started {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly bin?: string;
  readonly stdio?: StdioOptions;
}

/** Starts `ddim`; what it prints so far is in `text`, where it prints to a pipe. */
export function start(args: readonly string[], { cwd, env = {}, bin = BIN, stdio = "pipe" }: Started) {
  const child = spawn(process.execPath, [bin, ...args], { cwd, env: { ...process.env, ...env }, stdio });
  const text = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    child[name]?.on("data", (data) => {
      text[name] += data;
    });
  const ended = new Promise<Ended>((done) => child.on("close", (code) => done({ code, ...text })));
  return { child, text, ended };
}

/** Waits until something is so, while the process lives. */
export async function until(isSo: () => boolean, { child, text }: ReturnType<typeof start>): Promise<void> {
  while (!isSo()) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`it has ended: ${text.stderr}`);
    await new Promise((next) => setTimeout(next, 5));
  }
}
