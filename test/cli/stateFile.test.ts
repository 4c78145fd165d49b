/** `--save-state` and `--resume`: what is damaged is told, and never gone on with. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { readState } from "../../src/cli/stateFile.ts";
import type { SavedRun } from "../../src/pipeline/types.ts";
import { FileError } from "../../src/runtime/errors.ts";
import { type EncodableTensor, encodeSafetensors } from "../../src/weights/encode.ts";
import { ddim, scratchFolder } from "../support/cli.ts";

const scratch = scratchFolder();
const path = join(scratch, "state.safetensors");
const flags = ["sample", "-S", "2", "-n", "3", "-b", "2", "--eta", "0.5", "--seed", "9", "-q"];
const { signal } = new AbortController();
let whole: Buffer;
let saved: SavedRun;
let header: number;

beforeAll(async () => {
  expect((await ddim([...flags, "-o", join(scratch, "x.safetensors"), "--save-state", path])).code).toBe(0);
  whole = readFileSync(path);
  saved = await readState(path, signal);
  header = 8 + Number(whole.readBigUInt64LE(0));
});

async function refusal(bytes: Uint8Array): Promise<Error> {
  writeFileSync(path, bytes);
  const error = await readState(path, signal).then(
    () => new Error("was accepted"),
    (e: unknown) => e as Error,
  );
  expect(error.message).toMatch(/^[^\n]+$/);
  return error;
}

const flipped = (bit: number) => {
  const bytes = Buffer.from(whole);
  bytes[bit >> 3]! ^= 1 << (bit & 7);
  return bytes;
};

describe("a state of which a bit was flipped", () => {
  const isDamaged = async (bit: number) => {
    const error = await refusal(flipped(bit));
    expect(error).toBeInstanceOf(FileError);
    expect(error.message, `bit ${bit}`).toMatch(/state\.safetensors: is damaged: .*; start the run again/);
  };

  it("in its header is damaged", async () => {
    await fc.assert(fc.asyncProperty(fc.nat(8 * header - 1), isDamaged), { numRuns: 250 });
  });

  it("in its data is damaged", async () => {
    await fc.assert(fc.asyncProperty(fc.integer({ min: 8 * header, max: 8 * whole.length - 1 }), isDamaged), {
      numRuns: 50,
    });
  });

  it("and one that is cut off", async () => {
    for (const length of [header - 1, header, header + 5, whole.length - 1])
      expect((await refusal(whole.subarray(0, length))).message).toMatch(/is damaged: /);
  });
});

describe("a state that says something else than its checksum", () => {
  const flat = (data: Float32Array): EncodableTensor => ({ dtype: "F32", shape: [data.length], data });
  const encode = (changes: object, tensors: Record<string, EncodableTensor> = {}) => {
    const { state, history, done, seed, ...numbers } = saved;
    const own = { state: { dtype: "F32" as const, ...state }, history: flat(history), done: flat(done), ...tensors };
    return encodeSafetensors(own, {
      "ddim-webgpu-run": JSON.stringify({ ...numbers, seed: String(seed), ...changes }),
    });
  };

  it("is the state as it was where nothing changed", async () => {
    writeFileSync(path, encode({}));
    expect(await readState(path, signal)).toEqual(saved);
  });

  it.each([
    { row: null },
    { row: -1 },
    { row: 1.5 },
    { row: "2" },
    { batch: 0 },
    { batch: null },
    { first: true },
    { first: -2 },
    { seed: 7 },
    { seed: "-1" },
    { seed: "7.5" },
    { seed: "18446744073709551616" },
    { fingerprint: 3 },
    { checksum: null },
    { checksum: undefined },
    { row: 1 },
    { seed: "10" },
  ])("%j", async (changes) => {
    expect((await refusal(encode(changes))).message).toMatch(/is damaged: /);
  });

  it("tensors of another type, rank or length", async () => {
    const integers: EncodableTensor = { dtype: "I32", shape: [3], data: new Int32Array(3) };
    for (const tensors of [
      { state: integers },
      { history: integers },
      { done: integers },
      { state: flat(saved.state.data) },
      { done: flat(saved.done.subarray(1)) },
      { history: flat(new Float32Array(7)) },
    ] as Record<string, EncodableTensor>[])
      expect((await refusal(encode({}, tensors))).message).toMatch(/is damaged: /);
  });

  it("what was never one is no saved run", async () => {
    expect((await refusal(encodeSafetensors({ x: flat(new Float32Array(2)) }))).message).toMatch(/is no saved run/);
    expect((await refusal(Buffer.from("words, and more words"))).message).not.toMatch(/damaged: start/);
  });
});

it("the command ends with one sentence, exit code 1 and no device", async () => {
  writeFileSync(path, flipped(8 * whole.length - 3));
  const resumed = await ddim([...flags, "-o", join(scratch, "y.safetensors"), "--resume", path]);
  expect(resumed.code).toBe(1);
  expect(resumed.devices).toBe(0);
  expect(resumed.stderr).toMatch(
    /^ddim: .*state\.safetensors: is damaged: the checksum is another; start the run again\n$/,
  );
});
