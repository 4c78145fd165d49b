/**
 * Models, caches and saved runs that are damaged or replaced at any moment: the right pixels, or one sentence. More tries
 * than a test's: `DDIM_TRIES=200 npx vitest run test/pipeline/damage.test.ts`.
 */
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import fc from "fast-check";
import { expect, test } from "vitest";
import { readState, writeState } from "../../src/cli/stateFile.ts";
import { folderSource } from "../../src/node/folder.ts";
import { openModel } from "../../src/node/model.ts";
import { packedFolder } from "../../src/node/packedFolder.ts";
import { createPipeline } from "../../src/pipeline/load.ts";
import { DdimError } from "../../src/runtime/errors.ts";
import { scratchFolder } from "../support/cli.ts";
import { testDevice } from "../support/gpu.ts";
import { goldenPath, shippedPath, WEIGHTS } from "../support/models.ts";

const TRIES = Number(process.env.DDIM_TRIES ?? 20);
const scratch = scratchFolder();
const device = await testDevice();
const options = { seed: 1, steps: 2, count: 1 };
const [good, folder, cache] = [join(scratch, "good"), join(scratch, "model"), join(scratch, "cache")];
const [state, file] = [join(scratch, "state.safetensors"), join(folder, WEIGHTS)];
cpSync(goldenPath("models/noattn_gelu"), good, { recursive: true });
mkdirSync(join(good, "scheduler"));
const scheduler = "scheduler/scheduler_config.json";
copyFileSync(join(shippedPath("pixel-avatars-16"), scheduler), join(good, scheduler));

interface Loading {
  readonly cached?: boolean;
  readonly resume?: boolean;
  /** Between reading the headers and reading the weights. */
  readonly meanwhile?: () => void;
}

/** Pixels of the model as it lies there. */
async function sample({ cached, resume, meanwhile }: Loading = {}): Promise<Float32Array> {
  const saved = resume ? await readState(state, new AbortController().signal) : undefined;
  const model = await openModel(folderSource(folder));
  meanwhile?.();
  using pipeline = await createPipeline(model, { device, packed: cached ? packedFolder(cache, () => {}) : undefined });
  const { samples } = await pipeline.generate({ ...options, resume: saved });
  return samples.data;
}

/** The good model, a cache of it, and a saved run. */
function restore(): void {
  cpSync(good, folder, { recursive: true, preserveTimestamps: true });
}
restore();
const right = await sample();
await sample({ cached: true });
const entry = join(cache, readdirSync(cache)[0] as string);
const [goodEntry, goodWeights] = [readFileSync(entry), readFileSync(file)];
{
  using pipeline = await createPipeline(await openModel(folderSource(folder)), { device });
  for await (const step of pipeline.steps(options)) {
    writeState(state, await step.save());
    break;
  }
}
const goodState = readFileSync(state);

/** How bytes are damaged: one bit, a cut, a few more, or a stretch of zeros. */
const damage = fc.record({
  how: fc.constantFrom("bit", "cut", "longer", "zeros"),
  place: fc.double({ min: 0, max: 0.999999, noNaN: true }),
  bit: fc.nat(7),
});
type Damage = typeof damage extends fc.Arbitrary<infer T> ? T : never;
function damaged(bytes: Buffer, { how, place, bit }: Damage): Buffer {
  const at = Math.floor(place * bytes.length);
  if (how === "cut") return bytes.subarray(0, at);
  if (how === "longer") return Buffer.concat([bytes, Buffer.alloc(bit + 1)]);
  const copy = Buffer.from(bytes);
  if (how === "zeros") copy.fill(0, at, Math.min(at + 64, copy.length));
  else copy[at] = (copy[at] as number) ^ (1 << bit);
  return copy;
}

/** Puts bytes in a file's place, or into it, with the time of before. */
function put(path: string, bytes: Buffer, inPlace: boolean): void {
  const { atime, mtime } = statSync(path);
  const to = inPlace ? path : `${path}.new`;
  writeFileSync(to, bytes);
  if (!inPlace) renameSync(to, path);
  utimesSync(path, atime, mtime);
}

test("right pixels or an error", async () => {
  const what = fc.constantFrom("cache", "weights", "weights meanwhile", "state", "weights of a state");
  const outcomes = { right: 0, other: 0, refused: 0 };
  await fc.assert(
    fc.asyncProperty(what, damage, fc.boolean(), async (what, how, inPlace) => {
      put(file, goodWeights, false);
      writeFileSync(entry, goodEntry);
      writeFileSync(state, goodState);
      const changed = damaged(goodWeights, how);
      const change = () => put(file, changed, inPlace);
      if (what === "cache") put(entry, damaged(goodEntry, how), inPlace);
      if (what === "state") put(state, damaged(goodState, how), inPlace);
      if (what.startsWith("weights") && what !== "weights meanwhile") change();
      const loading = {
        cached: true,
        resume: what.includes("state"),
        meanwhile: what.includes("meanwhile") ? change : undefined,
      };
      const result = await sample(loading).catch((error: unknown) => error);
      if (result instanceof Error) {
        expect(result).toBeInstanceOf(DdimError);
        expect(result.message).not.toContain("internal");
        // Damage to a cache is no reason to fail.
        expect(what).not.toBe("cache");
        outcomes.refused++;
        return;
      }
      const same = Buffer.from((result as Float32Array).buffer).equals(Buffer.from(right.buffer));
      if (same) outcomes.right++;
      else {
        // Then they are those of the weights that lie there, all of them.
        expect(what).toBe("weights");
        expect(result).toEqual(await sample());
        outcomes.other++;
      }
    }),
    { numRuns: TRIES },
  );
  process.stderr.write(`${TRIES} tries: ${JSON.stringify(outcomes)}\n`);
});
