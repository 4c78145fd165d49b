/**
 * Cold starts: from starting a process to the finished picture, compiling included, with an empty and with a warm cache
 * of the driver. Ours is the command line as people call it; the peers load, sample and hand over the pixels.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { packageRoot } from "../../src/cli/package.ts";
import { OURS, type Result, type Workload } from "../results.ts";
import { pairRatios, spread } from "../stats.ts";
import type { Engine } from "./engines.ts";
import type { Materials } from "./materials.ts";
import { EngineError, EngineProcess } from "./protocol.ts";
import type { Item } from "./workloads.ts";

/** Where drivers keep what they compiled: Mesa, NVIDIA. */
const caches = (folder: string) => ({
  MESA_SHADER_CACHE_DIR: folder,
  __GL_SHADER_DISK_CACHE_PATH: folder,
});

async function ourStart({ command }: Engine, model: string, steps: number, scratch: string, cache: string) {
  // As installed: from the sources it takes 0.15 s longer to start.
  const built = join(packageRoot(), "dist/cli/main.js");
  if (!existsSync(built)) throw new EngineError("dist/ is not there: npm run build");
  const args = [built, "sample", "-q", "-m", model, "-S", String(steps), "--seed", "1"];
  const device = command.env?.DDIM_BENCH_ADAPTER;
  const child = spawn(
    process.execPath,
    [...args, "-o", join(scratch, "cold.png"), "--overwrite", ...(device === undefined ? [] : ["--device", device])],
    { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, ...command.env, ...caches(cache) } },
  );
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const [code] = await once(child, "close");
  if (code !== 0) throw new EngineError(`ddim sample: exit code ${code}: ${stderr.trim().split("\n").at(-1)}`);
}

async function peerStart(engine: Engine, item: Item, materials: Materials, cache: string): Promise<void> {
  const job = await materials.job(item);
  const child = new EngineProcess(engine.name, { ...engine.command, env: { ...engine.command.env, ...caches(cache) } });
  try {
    await child.call("open", { job });
    await child.call("output", { path: materials.output("cold") });
  } finally {
    child.kill();
  }
}

const phases = ["cold-empty-cache", "cold"] as const;
type Phase = (typeof phases)[number];

/** How often processes are started. With an empty cache they compile everything, which takes longest. */
export type ColdRounds = Readonly<Record<Phase, number>>;

/** @param item a warm run of the sampler; the cold ones are of the same model and as many steps */
export async function measureCold(
  item: Item,
  engines: readonly Engine[],
  {
    materials,
    scratch,
    rounds,
    signal,
  }: { materials: Materials; scratch: string; rounds: ColdRounds; signal: AbortSignal },
): Promise<Result[]> {
  const { workload } = item;
  const { model = "", steps = 0 } = workload;
  await materials.job(item, signal);
  const times = new Map<string, number[]>();
  const failed = new Map<Engine, string>();
  const start = async (engine: Engine, phase: Phase) => {
    const cache = join(scratch, `driver-cache-${engine.name}`);
    if (phase === "cold-empty-cache") rmSync(cache, { recursive: true, force: true });
    mkdirSync(cache, { recursive: true });
    const began = performance.now();
    if (engine.name === OURS) await ourStart(engine, model, steps, scratch, cache);
    else await peerStart(engine, item, materials, cache);
    const key = `${engine.name} ${phase}`;
    times.set(key, [...(times.get(key) ?? []), performance.now() - began]);
  };
  for (const phase of phases)
    for (let round = 0; round < rounds[phase]; round++)
      for (const engine of engines.filter((e) => !failed.has(e))) {
        signal.throwIfAborted();
        await start(engine, phase).catch((error: Error) => failed.set(engine, error.message));
      }
  const results: Result[] = [];
  for (const phase of phases) {
    const described: Workload = {
      ...workload,
      id: workload.id.replace(/warm$/, phase),
      name: `${model}, ${steps} steps, from starting a process`,
      phase,
    };
    const own = times.get(`${OURS} ${phase}`);
    for (const engine of engines) {
      const measured = times.get(`${engine.name} ${phase}`);
      const problem = failed.get(engine);
      if (!measured || problem)
        results.push({ ...described, engine: engine.name, status: "failed", note: problem ?? "not measured" });
      else
        results.push({
          ...described,
          engine: engine.name,
          ms: spread(measured),
          ratio: own && { ...pairRatios(own, measured), to: OURS },
          status: "ok",
        });
    }
  }
  return results;
}
