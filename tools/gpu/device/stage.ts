/** What the stages share: the networks, their inputs, the time that is left, and how results are told. */
import { appendFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { openNodeDevice } from "../../../src/node/device.ts";
import { folderSource } from "../../../src/node/folder.ts";
import { openModel } from "../../../src/node/model.ts";
import { createPipeline } from "../../../src/pipeline/load.ts";
import type { ForwardInputs, NetworkDType } from "../../../src/pipeline/types.ts";

export const root = fileURLToPath(new URL("../../..", import.meta.url));
/** What a software adapter does in reasonable time. */
export const rehearsal = process.env.GPU_REHEARSE === "1";
const { GPU_LIMIT_S = 120, GPU_NETS, GPU_BATCHES = "1,4", GPU_RESULTS, GPU_STAGE } = process.env;

/** Milliseconds that are left to the stage. */
export const left = () => Math.floor(1000 * Number(GPU_LIMIT_S) - performance.now());

/** A result: as a line of JSON in a file, and as a line of the summary. */
export function tell(result: object, text: string): void {
  console.log(`= ${text}`);
  if (GPU_RESULTS) appendFileSync(GPU_RESULTS, `${JSON.stringify({ stage: GPU_STAGE, ...result })}\n`);
}

/** What an attempt throws is a result, too. */
export async function attempt(what: object, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const [message = ""] = String((error as Error)?.message ?? error).split("\n");
    tell(
      { ...what, error: message.slice(0, 500) },
      `${Object.values(what).join(" ")}: FAILED ${message.slice(0, 200)}`,
    );
  }
}

export interface StageNetwork {
  readonly name: string;
  readonly folder: string;
  /** Of one image: channels, height, width. */
  readonly shape: readonly [number, number, number];
  readonly context?: readonly [number, number];
  /** It ships with weights and has classes; the others are published configurations with weights from a seed. */
  readonly shipped?: true;
}

const ALL: readonly StageNetwork[] = [
  { name: "sd-1.5", folder: "bench/configs/stable-diffusion-v1-5", shape: [4, 64, 64], context: [77, 768] },
  { name: "celebahq-256", folder: "bench/configs/ddpm-celebahq-256", shape: [3, 256, 256] },
  { name: "cifar10", folder: "bench/configs/ddpm-cifar10-32", shape: [3, 32, 32] },
  { name: "pixel-avatars-16", folder: "weights/pixel-avatars-16", shape: [3, 16, 16], shipped: true },
  { name: "crawl-tiles-32", folder: "weights/crawl-tiles-32", shape: [3, 32, 32], shipped: true },
  { name: "cin256-v2", folder: "bench/configs/cin256-v2", shape: [3, 32, 32], context: [1, 512] },
];
const wanted = GPU_NETS?.split(",") ?? (rehearsal ? ["pixel-avatars-16"] : ALL.map(({ name }) => name));
export const networks = ALL.filter(({ name, folder }) => wanted.includes(name) && existsSync(join(root, folder)));
export const batches = rehearsal ? [1] : GPU_BATCHES.split(",").map(Number);

/** Reproducible numbers of unit variance. */
function noise(count: number): Float32Array {
  return Float32Array.from(
    { length: count },
    (_, i) => ((Math.imul(i + 7919, 2654435761) >>> 0) / 2 ** 32 - 0.5) * 12 ** 0.5,
  );
}

export function inputsOf({ shape, context, shipped }: StageNetwork, n: number): ForwardInputs {
  const tensor = (...sizes: number[]) => ({ shape: sizes, data: noise(sizes.reduce((a, b) => a * b)) });
  return {
    sample: tensor(n, ...shape),
    timestep: Array.from({ length: n }, () => 500),
    classLabels: shipped && Array.from({ length: n }, (_, i) => i % 4),
    context: context && tensor(n, ...context),
  };
}

/** A network on a device of its own; in f16 one with matrix units. */
export async function openPipeline({ folder, shipped }: StageNetwork, dtype: NetworkDType) {
  const model = await openModel(folderSource(join(root, folder)), shipped ? {} : { randomWeights: 1n });
  const device = await openNodeDevice({ matrices: dtype === "f16" });
  return { device, pipe: await createPipeline(model, { device, dtype }) };
}
