/** The real process: `bin/ddim.js`, its streams, its signals and its end. */
import { cpSync, existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { scratchFolder } from "../support/cli.ts";
import { start as startIn, until } from "../support/process.ts";

const scratch = scratchFolder();
const installed = scratchFolder();

const start = (args: readonly string[], env: Record<string, string> = {}, bin?: string) =>
  startIn(args, { cwd: scratch, env, bin });

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
  child.stdout?.destroy();
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
  const run = start(["sample", "-S", "1000", "-n", "16", "-o", "long.png", "--save-steps", "steps"]);
  // The first step's picture shows that the loop runs.
  const steps = join(scratch, "steps");
  await until(() => existsSync(steps) && readdirSync(steps).length > 0, run);
  run.child.kill("SIGINT");
  const { code, stderr } = await run.ended;
  expect(code).toBe(130);
  expect(stderr).toMatch(/ddim: interrupted\n$/);
  expect(readdirSync(scratch)).toEqual(["steps"]);
  expect(readdirSync(steps).every((name) => /^step-\d{4}\.png$/.test(name))).toBe(true);
});
