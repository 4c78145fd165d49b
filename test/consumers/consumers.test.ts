/**
 * The built package in Deno, on its own WebGPU (wgpu, whose compiler is not Dawn's), and in Bun, on Dawn: a whole image
 * with Node's pixels as the reference, and a golden. `npm run consumers` adds all other goldens.
 */
import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { maxAbs, nmse } from "../reference/tensor.ts";
import { goldenPath, readTensors, shippedPath } from "../support/models.ts";
import { withoutPeers } from "./installed.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PACKAGES = fileURLToPath(new URL("node_modules/", import.meta.url));

/** The binary that npm installed for this machine. */
function binary(scope: string, file: string): string {
  const [name] = readdirSync(join(PACKAGES, scope));
  if (!name) throw new Error(`test/consumers has no ${scope} for this machine`);
  return join(PACKAGES, scope, name, file);
}

const ending = process.platform === "win32" ? ".exe" : "";
const RUN = "test/consumers/run.mjs";
const commands = {
  node: () => [process.execPath, RUN],
  deno: () => [binary("@deno", `deno${ending}`), "run", "--allow-all", "--no-prompt", RUN],
  bun: () => [binary("@oven", `bin/bun${ending}`), "run", RUN],
};

interface Job {
  readonly folder: string;
  readonly tensors?: string;
  readonly options?: object;
}

interface Result {
  readonly device?: string;
  readonly own?: boolean;
  readonly pixels?: readonly string[];
  readonly samples?: string;
}

async function run(runtime: keyof typeof commands, jobs: readonly Job[]): Promise<Result[]> {
  const [command, ...args] = commands[runtime]() as [string, ...string[]];
  const options = { cwd: ROOT, maxBuffer: 2 ** 28, env: { ...process.env, NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" } };
  const { stdout } = await promisify(execFile)(command, [...args, JSON.stringify(jobs)], options);
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Result);
}

const bytes = (text: string): Buffer<ArrayBuffer> => Buffer.from(text, "base64");
function floats(text: string): Float32Array {
  const { buffer, byteOffset, byteLength } = bytes(text);
  return new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
}

/** Seed to image of a shipped model. */
const image: Job = {
  folder: shippedPath("pixel-avatars-16"),
  options: { seed: 1, classes: [0, 3], count: 2, steps: 4 },
};

/** A golden, and the name of its expected tensor. */
type Golden = readonly [job: Job, file: string, tensor: string, limit: number];

const pipeline = (name: string): Golden => {
  const folder = goldenPath(`pipelines/${name}`);
  const options = { steps: 8, eta: 0, compat: "diffusers" };
  return [{ folder, tensors: `${folder}/x_T.safetensors`, options }, `${folder}/images.safetensors`, "x_0", 1e-7];
};

function evaluations(): Golden[] {
  return ["models", "corners"].flatMap((group) =>
    readdirSync(goldenPath(group), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .flatMap(({ name }) => {
        const folder = goldenPath(`${group}/${name}`);
        const files = readdirSync(folder).filter((file) => /^io.*\.safetensors$/.test(file));
        return files.map(
          (file): Golden => [{ folder, tensors: `${folder}/${file}` }, `${folder}/${file}`, "output", 1e-10],
        );
      }),
  );
}

const goldens = [pipeline("eps_clip")];
if (process.env.DDIM_TEST_GOLDENS === "all") goldens.push(pipeline("v_trailing_zsnr"), ...evaluations());

const node = run("node", [image]);

describe.skipIf(withoutPeers).each(["deno", "bun"] as const)("%s", (runtime) => {
  it("makes Node's image, and the numbers of the goldens", { timeout: 600_000 }, async () => {
    const [host, made, ...results] = await run(runtime, [image, ...goldens.map(([job]) => job)]);
    expect(host?.own).toBe(runtime === "deno");
    const [, expected] = await node;
    expect(made?.pixels).toHaveLength(2);
    // Another compiler rounds otherwise: a value on the edge between two bytes may fall to the other side.
    for (const [i, pixels] of (made?.pixels ?? []).entries())
      expect(maxAbs(bytes(pixels), bytes(expected?.pixels?.[i] ?? ""))).toBeLessThanOrEqual(1);
    expect(nmse(floats(made?.samples ?? ""), floats(expected?.samples ?? ""))).toBeLessThanOrEqual(1e-9);
    expect(results).toHaveLength(goldens.length);
    for (const [i, [, file, tensor, limit]] of goldens.entries()) {
      const golden = (await readTensors(file))[tensor];
      expect(nmse(floats(results[i]?.samples ?? ""), golden?.data ?? []), file).toBeLessThanOrEqual(limit);
    }
  });
});
