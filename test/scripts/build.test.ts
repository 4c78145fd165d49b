// The stub bin/ddim.js in a checkout of its own and in a package, whose command line prints one word.
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
const PARTS = ["bin", "package.json", "scripts", "src"];
let checkout: string;

const write = (path: string, code: string) => {
  mkdirSync(join(checkout, path, ".."), { recursive: true });
  writeFileSync(join(checkout, path), code);
};
const print = (word: string) => write("src/word.ts", `export enum Word { only = "${word}" }\n`);
const MAIN = 'import { Word } from "../word.ts";\nconst word: string = Word.only;\nconsole.log(word);\n';

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
  for (const name of ["bin", "scripts/sources.mjs", "package.json"])
    cpSync(join(ROOT, name), join(checkout, name), { recursive: true });
  write("src/cli/main.ts", MAIN);
  print("first");
});
afterAll(() => rmSync(checkout, { recursive: true }));

test("before the packages are installed, one sentence says how", async () => {
  const stderr = "ddim: rolldown is missing: run `npm ci --ignore-scripts`\n";
  expect(await ddim()).toEqual({ code: 1, stdout: "", stderr });
  symlinkSync(join(ROOT, "node_modules"), join(checkout, "node_modules"));
});

test("a checkout runs the sources as they are, several times at once, and writes nothing", async () => {
  const first = { code: 0, stdout: "first\n", stderr: "" };
  expect(await Promise.all([ddim(), ddim()])).toEqual([first, first]);
  print("second");
  expect(await ddim()).toEqual({ code: 0, stdout: "second\n", stderr: "" });
  expect(readdirSync(checkout).toSorted()).toEqual([...PARTS.slice(0, 1), "node_modules", ...PARTS.slice(1)]);
});

test("what is imported later is the same module, as deep as the sources are", async () => {
  write("weights/file", "");
  write(
    "src/shared.ts",
    'export const here: string = import.meta.url;\nexport const file = new URL("../../weights/file", here);\n',
  );
  write("src/later.ts", 'export { here } from "./shared.ts";\n');
  const main = [
    'import { existsSync } from "node:fs";',
    'import { file, here } from "../shared.ts";',
    'console.log((await import("../later.ts")).here === here, existsSync(file));',
  ];
  write("src/cli/main.ts", main.join("\n"));
  expect(await ddim()).toEqual({ code: 0, stdout: "true true\n", stderr: "" });
});

test("sources that are no program exit with 1 and are named", async () => {
  write("src/cli/main.ts", "not a program");
  const { code, stdout, stderr } = await ddim();
  expect([code, stdout]).toEqual([1, ""]);
  expect(stderr).toContain("src/cli/main.ts");
});

test("a package runs its dist/", async () => {
  for (const name of ["scripts", "src"]) rmSync(join(checkout, name), { recursive: true });
  write("dist/cli/main.js", 'console.log("built");\n');
  expect(await ddim()).toEqual({ code: 0, stdout: "built\n", stderr: "" });
});
