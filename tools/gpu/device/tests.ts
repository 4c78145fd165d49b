/**
 * Test files beside each other, a process each. GPU_TESTS: folders or files instead of the usual ones; GPU_MATRICES: 1 or 0,
 * only on devices with, or without, matrix units; GPU_TEST_NAME: a pattern; GPU_JOBS.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { left, rehearsal, root, tell } from "./stage.ts";

interface Job {
  readonly file: string;
  readonly matrices: boolean;
}
interface Found {
  readonly name: string;
  readonly state: string;
  readonly error?: string;
}

/** What matrix units change, and then everything that a GPU has a part in. */
const MATRIX = [
  "kernels/conv2d.test.ts",
  "kernels/attention.test.ts",
  "kernels/linear.test.ts",
  "unet/goldens.test.ts",
];
const PLAIN = ["kernels", "unet", "autoencoder", "pipeline", "runtime", "network", "onnx", "cli/sample.test.ts"];
const SMALL = ["kernels/matrixUnits.test.ts", "kernels/add.test.ts", "kernels/groupNorm.test.ts"];
/** Needs a bundler, or counts on a processor that nothing else uses. */
const LEFT_OUT = /pacer\.test|patience\.test/;
/** Longest first, so that none is left alone at the end. */
const SLOW = /conv2d|unet\/goldens|attention|parity|operations|latent/;
const inTests = (names: readonly string[]) => names.map((name) => `test/${name}`);

function filesOf(path: string): string[] {
  if (!existsSync(join(root, path))) return [];
  if (statSync(join(root, path)).isFile()) return [path];
  const names = readdirSync(join(root, path), { recursive: true }) as string[];
  return names.filter((name) => name.endsWith(".test.ts") && !LEFT_OUT.test(name)).map((name) => join(path, name));
}

function plan(): Job[] {
  const { GPU_TESTS, GPU_MATRICES } = process.env;
  const jobs = (paths: readonly string[], matrices: boolean) =>
    [...new Set(paths.flatMap(filesOf))].map((file) => ({ file, matrices }));
  const chosen = GPU_TESTS?.split(",") ?? (rehearsal ? inTests(SMALL) : undefined);
  const all = [...jobs(chosen ?? inTests(MATRIX), true), ...jobs(chosen ?? inTests(PLAIN), false)];
  const asked = all.filter(({ matrices }) => !GPU_MATRICES || matrices === (GPU_MATRICES === "1"));
  return asked.sort((a, b) => Number(SLOW.test(b.file)) - Number(SLOW.test(a.file)));
}

async function run({ file, matrices }: Job): Promise<void> {
  const name = `${file}${matrices ? " [matrices]" : ""}`;
  if (left() < 3000) return tell({ file, matrices, error: "not begun" }, `${name}: not begun, time was up`);
  const began = performance.now();
  const one = fileURLToPath(new URL("oneTest.mjs", import.meta.url));
  const child = spawn(process.execPath, [...process.execArgv, one, join(root, file)], {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, DDIM_TEST_MATRICES: matrices ? "1" : "0" },
    timeout: Math.min(120_000, left() - 1000),
    killSignal: "SIGKILL",
  });
  const [stdout, stderr, [code, signal]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "exit"),
  ]);
  const lines = stdout.trim().split("\n");
  const tests: Found[] = code === 0 ? JSON.parse(lines.at(-1) as string) : [];
  const failed = tests.filter(({ state }) => state === "fail");
  const passed = tests.filter(({ state }) => state === "pass").length;
  const skipped = tests.length - failed.length - passed;
  const error =
    code === 0 ? undefined : `${signal ?? `exit ${code}`}: ${stderr.trim().split("\n").slice(-12).join("\n")}`;
  const seconds = (performance.now() - began) / 1000;
  tell(
    { file, matrices, passed, skipped, failed, seconds, error },
    `${error || failed.length ? "FAILED " : ""}${name}: ${passed} passed, ${failed.length} failed, ${skipped} skipped, ${seconds.toFixed(1)} s`,
  );
  for (const test of failed) console.log(`  ${test.name}\n    ${test.error}`);
  if (error) console.log(`  ${error}`);
}

const queue = plan();
const work = async () => {
  for (let job = queue.shift(); job; job = queue.shift()) await run(job);
};
const { GPU_JOBS = Math.max(1, Math.min(10, availableParallelism() - 4)) } = process.env;
await Promise.all(Array.from({ length: Number(GPU_JOBS) }, work));
