/** The engines of a run: ours and its peers, each with the command that starts it, or the reason why it cannot be. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { packageRoot } from "../../src/cli/package.ts";
import { UsageError } from "../../src/runtime/errors.ts";
import { type EngineInfo, type EngineName, engines, OURS } from "../results.ts";
import { type EngineCommandLine, EngineError, type EngineHello, EngineProcess } from "./protocol.ts";

export interface Engine {
  readonly name: EngineName;
  readonly command: EngineCommandLine;
}

export interface EnginesFound {
  readonly usable: readonly Engine[];
  readonly info: readonly EngineInfo[];
  readonly adapter: NonNullable<EngineHello["adapter"]>;
}

const PEERS = "bench/peers";

/** The command of an engine, or why there is none. */
function locate(name: EngineName): EngineCommandLine | string {
  const root = packageRoot();
  const node = (...args: string[]) => ({ file: process.execPath, args });
  switch (name) {
    case "ddim-webgpu":
      return node(
        "--import",
        pathToFileURL(join(root, "scripts/sources.mjs")).href,
        join(root, "bench/harness/worker.ts"),
      );
    case "onnxruntime-cpu":
    case "onnxruntime-webgpu":
      return existsSync(join(root, PEERS, "node_modules/onnxruntime-node"))
        ? node(join(root, PEERS, "ort.mjs"), name.replace("onnxruntime-", ""))
        : "not installed: node scripts/install-peers.mjs";
    case "onnxruntime-web":
      return existsSync(join(root, PEERS, "node_modules/onnxruntime-web"))
        ? node(join(root, PEERS, "web.mjs"))
        : `not installed: npm install --no-save --ignore-scripts onnxruntime-web, in ${PEERS}`;
    case "torch-eager":
    case "torch-compiled": {
      const { status } = spawnSync("python3", ["-c", "import torch, diffusers"], { stdio: "ignore", timeout: 120_000 });
      return status === 0
        ? { file: "python3", args: [join(root, PEERS, "torch_peer.py"), name.replace("torch-", "")] }
        : "python3 with torch and diffusers was not found";
    }
  }
}

/** @throws UsageError naming an engine that does not exist */
export function parseEngines(text: string): EngineName[] {
  const names = text.split(",").map((name) => name.trim());
  for (const name of names)
    if (!(engines as readonly string[]).includes(name))
      throw new UsageError("engines", `--engines ${name}: there is no such engine; there are ${engines.join(", ")}`);
  return [...new Set<EngineName>([OURS, ...(names as EngineName[])])];
}

/**
 * Starts every wanted engine once, asks for its settings, and ends it.
 * @throws EngineError when ours does not start
 */
export async function findEngines(wanted: readonly EngineName[], adapter: string | undefined): Promise<EnginesFound> {
  const usable: Engine[] = [];
  const info: EngineInfo[] = [];
  let env: Record<string, string> = adapter === undefined ? {} : { DDIM_BENCH_ADAPTER: adapter };
  let found: EngineHello["adapter"];
  for (const name of engines) {
    const command = wanted.includes(name) ? locate(name) : "not asked for";
    const missing = (reason: string) => info.push({ engine: name, settings: {}, missing: reason });
    if (typeof command === "string") {
      missing(command);
      continue;
    }
    const engine = { name, command: { ...command, env } };
    const child = new EngineProcess(name, engine.command);
    try {
      const hello = await child.call("hello", {}, 120_000);
      usable.push(engine);
      info.push({ engine: name, version: hello.version, settings: hello.settings });
      if (name === OURS) {
        found = hello.adapter;
        env = { ...env, ...hello.env };
      }
    } catch (error) {
      if (name === OURS) throw error;
      missing((error as Error).message);
    } finally {
      child.kill();
    }
  }
  if (!found) throw new EngineError("the engine named no adapter");
  return { usable, info, adapter: found };
}
