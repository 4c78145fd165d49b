/** Saved runs: as files, and as a program passes them. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { readState, writeState } from "../../../src/cli/stateFile.ts";
import { folderSource } from "../../../src/node/folder.ts";
import { openModel } from "../../../src/node/model.ts";
import { resolveRun } from "../../../src/pipeline/run.ts";
import { checkResume, checksum, fingerprint } from "../../../src/pipeline/saved.ts";
import type { SavedRun } from "../../../src/pipeline/types.ts";
import { splitSafetensors } from "../../support/models.ts";
import { rawSafetensors } from "../../weights/memory-source.ts";
import { onDisk, ownFolder } from "../disk.ts";
import type { Target } from "../harness.ts";
import { decode, mutatedBytes, mutatedJson, mutatedValues } from "../mutate.ts";
import { optionValue, revive } from "../values.ts";

const model = await openModel(folderSource("weights/pixel-avatars-16"));
const run = resolveRun(model, { seed: 1, steps: 2, count: 3, batch: 2 });
const own = fingerprint("model", run);
const state = { shape: [1, 3, 16, 16], data: new Float32Array(768).fill(0.5) };
const whole = { fingerprint: own, seed: 1n, batch: 2, first: 2, row: 1, state };
const arrays = { history: new Float32Array(0), done: new Float32Array(1536) };
const saved: SavedRun = { ...whole, ...arrays, checksum: checksum({ ...whole, ...arrays }) };

const path = `${ownFolder()}/state.safetensors`;
writeState(path, saved);
const file = new Uint8Array(readFileSync(path));
const { header, data } = splitSafetensors(file);
const { signal } = new AbortController();

export const stateFile: Target = {
  name: "state",
  seeds: [file],
  input: fc.oneof(
    { weight: 1, arbitrary: mutatedBytes([file]) },
    { weight: 1, arbitrary: mutatedValues([header]).map((value) => rawSafetensors(JSON.stringify(value), data)) },
  ),
  read: async (bytes) => {
    const { seed, ...rest } = await readState(onDisk("fuzz.safetensors", bytes), signal);
    checkResume({ seed, ...rest }, own, run, 3);
    return [seed, rest];
  },
};

const floats = (length: number) => ({ $: `floats ${length}` });
const asJson = {
  ...{ fingerprint: own, seed: { $: "bigint 1" }, batch: 2, first: 2, row: 1, state: { ...state, data: floats(768) } },
  ...{ history: floats(0), done: floats(1536), checksum: "right" },
};

/** Whoever makes a state can make its checksum too. */
function withChecksum(resume: unknown): unknown {
  const given = Object(resume) as SavedRun;
  if (given.checksum !== "right") return resume;
  try {
    return { ...given, checksum: checksum(given) };
  } catch {
    return resume;
  }
}

export const resume: Target = {
  name: "resume",
  seeds: [new TextEncoder().encode(JSON.stringify(asJson))],
  input: mutatedJson([asJson], optionValue),
  async read(bytes) {
    let json: unknown;
    try {
      json = JSON.parse(decode(bytes));
    } catch {
      json = null;
    }
    checkResume(withChecksum(revive(json)) as SavedRun, own, run, 3);
    return "resumed";
  },
};
