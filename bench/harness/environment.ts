/** Where and with what a run was made. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { arch, cpus, loadavg, platform, release, totalmem } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { packageRoot, packageVersion } from "../../src/cli/package.ts";
import type { Environment } from "../results.ts";

const PACKAGES = { webgpu: "node_modules/webgpu", "onnxruntime-node": "bench/peers/node_modules/onnxruntime-node" };

function packageVersions(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(PACKAGES).flatMap(([name, folder]) => {
      try {
        const text = readFileSync(join(packageRoot(), folder, "package.json"), "utf8");
        return [[name, (JSON.parse(text) as { version: string }).version]];
      } catch {
        return [];
      }
    }),
  );
}

function commit(): string | undefined {
  const git = (...args: string[]) => spawnSync("git", ["-C", packageRoot(), ...args], { encoding: "utf8" });
  const head = git("rev-parse", "--short", "HEAD");
  if (head.status !== 0) return undefined;
  return head.stdout.trim() + (git("status", "--porcelain", "--untracked-files=no").stdout ? "+" : "");
}

/** @param start load average when the run began */
export function describeEnvironment(adapter: Environment["adapter"], began: Date, start: number): Environment {
  const list = cpus();
  return {
    date: began.toISOString(),
    version: packageVersion(),
    commit: commit(),
    adapter,
    cpu: { model: list[0]?.model ?? "unknown", cores: list.length },
    memory: totalmem(),
    os: `${platform()} ${release()} ${arch()}`,
    node: process.version,
    packages: packageVersions(),
    load: { start, end: loadavg()[0] ?? 0 },
  };
}
