/** The README's code runs as it stands there, and its files exist. */
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { ensureBuild } from "../scripts/build.mjs";
import { readPng } from "../src/node/png.ts";
import { scratchFolder } from "./support/cli.ts";

const readme = readFileSync("README.md", "utf8");
const scratch = scratchFolder();

test("the library's example makes a sheet of sixteen faces", async () => {
  await ensureBuild();
  const code = /```js\n([\s\S]+?)```/.exec(readme)?.[1] as string;
  expect(code.split("\n").length).toBeLessThanOrEqual(16);
  const picture = join(scratch, "faces.png");
  const run = promisify(execFile);
  await run(process.execPath, ["--input-type=module", "-e", code.replace("faces.png", picture)]);
  expect(await readPng(picture)).toMatchObject({ width: 4 * 16 + 6, height: 4 * 16 + 6 });
});

test("every linked file is there", () => {
  const links = [...readme.matchAll(/\]\((?!https?:)([^)]+)\)/g)].map(([, path]) => path as string);
  expect(links).toContain("docs/avatars.png");
  expect(links.filter((path) => !existsSync(path))).toEqual([]);
});
