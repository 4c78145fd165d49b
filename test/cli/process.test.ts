/** The real process: `bin/ddim.js`, its streams, its signals and its end. */
import { spawn } from "node:child_process";
import { cpSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import { expect, test } from "vitest";
import { scratchFolder } from "../support/cli.ts";

const BIN = resolve("bin/ddim.js");
const scratch = scratchFolder();
const installed = scratchFolder();

function start(args: readonly string[], env: Record<string, string> = {}, bin = BIN) {
  const child = spawn(process.execPath, [bin, ...args], { cwd: scratch, env: { ...process.env, ...env } });
  const text = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    child[name].on("data", (data) => {
      text[name] += data;
    });
  const ended = new Promise<{ code: number | null; stdout: string; stderr: string }>((done) =>
    child.on("close", (code) => done({ code, ...text })),
  );
  return { child, text, ended };
}

test("data on stdout is whole when the process ends, from any folder", async () => {
  const { code, stdout, stderr } = await start(["schedule", "-S", "1000", "--json", "-q"]).ended;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(JSON.parse(stdout).steps).toHaveLength(1000);
});

test("without the optional packages there is one sentence, and exit code 1", async () => {
  for (const part of ["bin", "dist", "package.json"]) cpSync(part, join(installed, part), { recursive: true });
  const { code, stdout, stderr } = await start(["--help"], {}, join(installed, "bin/ddim.js")).ended;
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toMatch(/^ddim: [\w-]+ is missing: the command line needs the optional packages[^\n]*\n$/);
});

test("a reader that has seen enough is no failure", async () => {
  const { child, ended } = start(["schedule", "-S", "1000", "--json", "-q"]);
  child.stdout.destroy();
  expect(await ended).toMatchObject({ code: 0, stderr: "" });
});

test("without an adapter there is one sentence with advice, exit code 1 and no file", async () => {
  const nowhere = { VK_ICD_FILENAMES: "/nonexistent.json", VK_DRIVER_FILES: "/nonexistent.json" };
  const { code, stdout, stderr } = await start(["sample", "-o", "none.png", "-q"], nowhere).ended;
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toMatch(/^ddim: no WebGPU adapter was found on this machine \(.*`ddim doctor`.*\)$/m);
  expect(readdirSync(scratch)).toEqual([]);
});

test("an adapter that is not there is wrong usage", async () => {
  const { code, stderr } = await start(["sample", "-o", "none.png", "-q", "--device", "Voodoo 2"]).ended;
  expect(code).toBe(2);
  expect(stderr).toMatch(/^ddim: --device Voodoo 2 matches no adapter; there is 0: /m);
});

test("Ctrl-C ends the run with 130 and leaves no file", async () => {
  const { child, text, ended } = start(["sample", "-S", "1000", "-n", "16", "-o", "long.png", "--save-steps", "steps"]);
  // The first step's picture shows that the loop runs.
  while (!readdirSync(scratch).includes("steps") || readdirSync(join(scratch, "steps")).length === 0) {
    expect(child.exitCode, text.stderr).toBeNull();
    await new Promise((next) => setTimeout(next, 20));
  }
  child.kill("SIGINT");
  const { code, stderr } = await ended;
  expect(code).toBe(130);
  expect(stderr).toMatch(/ddim: interrupted\n$/);
  expect(readdirSync(scratch)).toEqual(["steps"]);
  expect(readdirSync(join(scratch, "steps")).every((name) => /^step-\d{4}\.png$/.test(name))).toBe(true);
});
