// The stub bin/ddim.js in a checkout of its own, whose command line prints one word.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
let checkout: string;

const write = (path: string, code: string) => writeFileSync(join(checkout, "src", path), code);
const print = (word: string) => write("cli/main.ts", `const word: string = "${word}";\nconsole.log(word);\n`);

async function ddim(): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [join(checkout, "bin/ddim.js")], {
    cwd: tmpdir(),
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
  return { code, stdout, stderr };
}

beforeAll(() => {
  checkout = mkdtempSync(join(tmpdir(), "ddim-checkout-"));
  for (const name of ["bin", "scripts", "package.json", "tsconfig.json", "tsdown.config.mjs"]) {
    cpSync(join(ROOT, name), join(checkout, name), { recursive: true });
  }
  symlinkSync(join(ROOT, "node_modules"), join(checkout, "node_modules"));
  for (const folder of ["cli", "node", "kernels"]) mkdirSync(join(checkout, "src", folder), { recursive: true });
  mkdirSync(join(checkout, "bench/harness"), { recursive: true });
  for (const entry of [
    "index.ts",
    "node/index.ts",
    "kernels/index.ts",
    "../bench/index.ts",
    "../bench/harness/worker.ts",
  ])
    write(entry, "export const one = 1;\n");
});
afterAll(() => rmSync(checkout, { recursive: true }));

test("two first runs at once both build and both run", async () => {
  print("first");
  const runs = await Promise.all([ddim(), ddim()]);
  expect(runs.map(({ code, stdout }) => [code, stdout])).toEqual([
    [0, "first\n"],
    [0, "first\n"],
  ]);
  expect(runs.map(({ stderr }) => stderr)).toContain("building dist/ ...\n");
  expect(readdirSync(join(checkout, ".cache"))).toEqual([]);
});

test("a fresh dist/ is used as it is, a stale one is built again", async () => {
  expect(await ddim()).toEqual({ code: 0, stdout: "first\n", stderr: "" });
  print("second");
  expect(await ddim()).toEqual({ code: 0, stdout: "second\n", stderr: "building dist/ ...\n" });
});

test("sources that do not build leave dist/ alone and exit with 1", async () => {
  write("cli/main.ts", "not a program");
  const { code, stdout, stderr } = await ddim();
  expect([code, stdout]).toEqual([1, ""]);
  expect(stderr).toContain("src/cli/main.ts");
  print("second");
  expect(await ddim()).toEqual({ code: 0, stdout: "second\n", stderr: "" });
});
