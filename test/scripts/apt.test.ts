import { spawnSync } from "node:child_process";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { expect, test } from "vitest";
import { scratchFolder } from "../support/cli.ts";

const scratch = scratchFolder();

/** Runs code with an apt-get and a sudo that only say that they were called; what is printed, in order. */
function withFakes(code: string, env: Record<string, string> = {}): string {
  const fakes = {
    "apt-get": '#!/bin/sh\necho "ran: apt-get $*" >&2\n',
    sudo: '#!/bin/sh\n[ "$1" = -n ] && shift\nexec "$@"\n',
  };
  for (const [name, text] of Object.entries(fakes)) {
    writeFileSync(join(scratch, name), text);
    chmodSync(join(scratch, name), 0o755);
  }
  const run = spawnSync(process.execPath, ["--input-type=module", "-e", code], {
    env: { ...process.env, PATH: `${scratch}:${process.env.PATH}`, ...env },
    encoding: "utf8",
  });
  return run.stdout + run.stderr;
}

test.skipIf(process.platform === "win32")("what is run as root is said before it runs, with the way around", () => {
  const printed = withFakes(
    'import { aptInstall } from "./scripts/apt.mjs"; aptInstall("nothing there", ["a", "b"], "bring your own");',
  );
  const first = printed.indexOf("ran:");
  const [said, ran] = [printed.slice(0, first), printed.slice(first)];
  const commands = ["apt-get update -qq", "apt-get install -y -qq --no-install-recommends a b"];
  for (const command of commands) expect(said).toContain(`  ${command}\n`);
  expect(said).toMatch(/^nothing there\. As root this runs\n/);
  expect(said).toContain("With DDIM_NO_ROOT=1 it does not; bring your own.");
  expect(ran).toBe(commands.map((command) => `ran: ${command}\n`).join(""));
});

test("DDIM_NO_ROOT keeps the set-up from it, also as root", () => {
  const printed = withFakes('import { mayInstall } from "./scripts/apt.mjs"; console.log(mayInstall());', {
    DDIM_NO_ROOT: "1",
  });
  expect(printed).toBe("false\n");
});
