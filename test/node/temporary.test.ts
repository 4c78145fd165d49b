/** Files under names of their own until they are whole: what becomes of these names, whoever dies. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import process from "node:process";
import { expect, test } from "vitest";
import { checkFile, checkFolder } from "../../src/cli/output.ts";
import { packedFolder } from "../../src/node/packedFolder.ts";
import { appear, appearSync, beside, sweep } from "../../src/node/temporary.ts";
import { tuningFolder } from "../../src/node/tuningFolder.ts";
import { scratchFolder } from "../support/cli.ts";

const scratch = scratchFolder();
let folders = 0;

/** A folder that was never swept. */
function fresh(): string {
  const folder = join(scratch, String(folders++));
  mkdirSync(folder);
  return folder;
}

/** A process that writes for ever, under another name. */
async function writer(folder: string) {
  const code = `
    await import(${JSON.stringify(resolve("scripts/sources.mjs"))});
    const { appear } = await import(${JSON.stringify(resolve("src/node/temporary.ts"))});
    const { writeFileSync } = await import("node:fs");
    if (process.env.HEARS) process.on(process.env.HEARS, () => process.exit(3));
    await appear(${JSON.stringify(join(folder, "x.bin"))}, (temporary) => {
      writeFileSync(temporary, "half");
      console.log(temporary);
      return new Promise(() => setInterval(() => {}, 1000));
    });`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", code], {
    env: { ...process.env, HEARS: "SIGTERM" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await once(child.stdout, "data");
  const ended = once(child, "exit");
  return {
    temporary: String(line).trim(),
    async kill(signal: NodeJS.Signals) {
      child.kill(signal);
      await ended;
    },
  };
}

test("what a killed process left is removed by the next one that writes there, and nothing else", async () => {
  const [folder, other] = [fresh(), fresh()];
  const [dead, living] = [await writer(folder), await writer(folder)];
  try {
    const { temporary } = dead;
    await dead.kill("SIGKILL");
    expect(readdirSync(folder).sort()).toEqual([temporary, living.temporary].map((path) => basename(path)).sort());
    const name = basename(temporary);
    const [, machine = "", pid = ""] = /^\.ddim-(\w+)-(\d+)-\d+\.tmp$/.exec(name) ?? [];
    const foreign = [
      name.replace(machine, "00000000"),
      name.replace(pid, "1"),
      ".ddim-x.tmp",
      `.out.png.${pid}.tmp`,
      `${name}.png`,
      "x.png",
      "a.incomplete",
    ];
    for (const each of foreign) writeFileSync(join(folder, each), "");
    writeFileSync(join(other, name), "");
    checkFile(join(folder, "new.png"), false);
    expect(readdirSync(folder).sort()).toEqual([...foreign, basename(living.temporary)].sort());
    checkFolder(other);
    expect(readdirSync(other)).toEqual([]);
  } finally {
    await living.kill("SIGKILL");
  }
});

test("a process that ends by itself leaves nothing", async () => {
  const folder = fresh();
  const { kill } = await writer(folder);
  await kill("SIGTERM");
  expect(readdirSync(folder)).toEqual([]);
});

/** Leaves the file of a process that has ended. */
function leave(folder: string): void {
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  const own = basename(beside(join(folder, "x"), (name) => name));
  writeFileSync(join(folder, own.replace(`-${process.pid}-`, `-${pid}-`)), "");
}

test.each([
  ["packed weights", (folder: string) => packedFolder(folder, () => {}).open("0", [])],
  ["tables", (folder: string) => tuningFolder(folder, () => {}).load({ adapter: "a", kernels: "k" } as never)],
])("the cache of %s is swept at the next start", async (_, start) => {
  const folder = fresh();
  leave(folder);
  expect(readdirSync(folder)).toHaveLength(1);
  await start(folder);
  expect(readdirSync(folder)).toEqual([]);
});

test("of this process only what is older than it is removed: numbers come again", () => {
  const folder = fresh();
  beside(join(folder, "x"), (name) => {
    writeFileSync(name, "");
    sweep(folder);
    expect(readdirSync(folder)).toEqual([basename(name)]);
  });
  const earlier = fresh();
  beside(join(earlier, "x"), (name) => {
    writeFileSync(name, "");
    utimesSync(name, 1, 1);
    sweep(earlier);
    expect(readdirSync(earlier)).toEqual([]);
  });
});

test("names differ, within one process too, and what fails leaves nothing", async () => {
  const folder = fresh();
  const path = join(folder, "a");
  const names: string[] = [];
  const write = (text: string) => async (temporary: string) => {
    names.push(temporary);
    writeFileSync(temporary, text);
    await new Promise((next) => setTimeout(next, 5));
  };
  await Promise.all(["1", "2", "3", "4"].map((text) => appear(path, write(text))));
  expect(new Set(names).size).toBe(4);
  expect(["1", "2", "3", "4"]).toContain(readFileSync(path, "utf8"));
  const fail = (temporary: string) => {
    writeFileSync(temporary, "half");
    throw new Error("full");
  };
  expect(() => appearSync(path, fail)).toThrow("full");
  await expect(appear(path, async (temporary) => fail(temporary))).rejects.toThrow("full");
  expect(readdirSync(folder)).toEqual(["a"]);
});

test("four loads in one process share a cache without a word", async () => {
  const folder = fresh();
  const code = `
    await import(${JSON.stringify(resolve("scripts/sources.mjs"))});
    const { loadPipeline } = await import(${JSON.stringify(resolve("src/node/index.ts"))});
    const load = () => loadPipeline("pixel-avatars-16", { cache: ${JSON.stringify(folder)} });
    await Promise.all([load(), load(), load(), load()]);
    process.exit(4);`;
  // As in a plain shell, where the adapter is found by whoever looks first.
  const { VK_ICD_FILENAMES: _, VK_DRIVER_FILES: __, ...env } = process.env;
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", code], { env });
  expect({ status, stdout: String(stdout), stderr: String(stderr) }).toEqual({ status: 4, stdout: "", stderr: "" });
  expect(readdirSync(folder)).toEqual([expect.stringMatching(/^weights-[0-9a-f]{24}\.bin$/)]);
});
