// tools/gpu packed and run as on a machine with a GPU that has nothing else: the bundle's own Node, sources and packages.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const GPU_TESTS = "test/kernels/add.test.ts";
const able =
  process.platform === "linux" &&
  process.arch === "x64" &&
  spawnSync("xz", ["--version"], { stdio: "ignore" }).status === 0;

describe.skipIf(!able)("the bundle for a machine with a GPU", () => {
  let folder: string;

  const run = (file: string, args: string[], env: NodeJS.ProcessEnv) => {
    const { status, stdout, stderr } = spawnSync(file, args, { cwd: ROOT, env, encoding: "utf8" });
    expect(`${stderr}${stdout}`, `exit ${status}`).toSatisfy(() => status === 0);
    return stdout;
  };

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "ddim-gpu-bundle-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test("is packed and says what it weighs beside the tracked files", () => {
    const stdout = run("tools/gpu/pack.sh", [".", join(folder, "bundle")], { ...process.env, GPU_DRAFT: "1" });
    const [, bundle, together] = /: ([\d.]+) MiB, with the tracked files ([\d.]+) MiB of 64.0 MiB/.exec(stdout) ?? [];
    // Packed in seconds: 22 where it takes minutes.
    expect(Number(bundle)).toBeLessThan(29);
    expect(Number(together)).toBeLessThan(64);
  });

  test("checks the adapter, two kernels, and a file of tests with and without matrix units", () => {
    const OUT = join(folder, "out");
    const { VK_DRIVER_FILES, VK_ICD_FILENAMES } = process.env;
    run("/bin/bash", [join(folder, "bundle/run.sh"), "doctor", "kernels", "tests"], {
      ...{ PATH: "/usr/bin:/bin", OUT, GPU_WORK: join(folder, "work"), TMPDIR: folder, GPU_REHEARSE: "1", GPU_TESTS },
      ...{ VK_DRIVER_FILES, VK_ICD_FILENAMES },
    });
    const lines = readFileSync(join(OUT, "results.jsonl"), "utf8").trim().split("\n");
    const results = lines.map((line): { stage: string; [key: string]: unknown } => JSON.parse(line));
    const of = (name: string) => results.filter(({ stage, status }) => stage === name && status === undefined);
    expect(results.filter(({ status }) => status !== undefined).map(({ status }) => status)).toEqual([
      expect.stringMatching(/^exit 0/),
      expect.stringMatching(/^exit 0/),
      expect.stringMatching(/^exit 0/),
    ]);
    expect(of("doctor").map(({ error, toggles }) => error ?? toggles)).toHaveLength(2);
    const kernels = of("kernels");
    expect(new Set(kernels.map((it) => it.case)).size).toBe(4);
    expect(kernels.filter(({ correct }) => !correct)).toEqual([]);
    expect(
      of("tests").map(({ file, matrices, failed, passed }) => ({ file, matrices, failed, ran: Number(passed) > 0 })),
    ).toEqual([true, false].map((matrices) => ({ file: GPU_TESTS, matrices, failed: [], ran: true })));
  });
});
