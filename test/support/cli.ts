/** The command line in this process: what it prints, its exit code, and whether it went near the GPU. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import type { Io } from "../../src/cli/io.ts";
import { run } from "../../src/cli/run.ts";
import { openNodeDevice } from "../../src/node/device.ts";

export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
  /** How often a device was opened. */
  devices: number;
}

export interface World {
  env?: Io["env"];
  signal?: AbortSignal;
  openDevice?: Io["openDevice"];
  tty?: boolean;
}

/** Runs `ddim` with these arguments; devices are opened with validation. */
export async function ddim(args: readonly string[], world: World = {}): Promise<Outcome> {
  const outcome: Outcome = { code: -1, stdout: "", stderr: "", devices: 0 };
  const stream = (name: "stdout" | "stderr") => ({
    isTTY: world.tty ?? false,
    columns: 100,
    write(text: string) {
      outcome[name] += text;
      return true;
    },
  });
  const open = world.openDevice ?? ((options) => openNodeDevice({ ...options, fast: false }));
  outcome.code = await run(args, {
    stdout: stream("stdout"),
    stderr: stream("stderr"),
    env: world.env ?? {},
    signal: world.signal ?? new AbortController().signal,
    openDevice: (options) => {
      outcome.devices++;
      return open(options);
    },
  });
  return outcome;
}

/** A folder of this test file's own, removed at its end. */
export function scratchFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "ddim-test-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
