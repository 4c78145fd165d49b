/** What is kept between runs: tables of measured methods, and packed weights. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { METHODS } from "../../../src/kernels/methods.ts";
import { packedFolder } from "../../../src/node/packedFolder.ts";
import { tuningFile, tuningFolder } from "../../../src/node/tuningFolder.ts";
import { formatTuning, parseTuning } from "../../../src/pipeline/tuningTable.ts";
import { FileError } from "../../../src/runtime/errors.ts";
import { ownFolder } from "../disk.ts";
import { every, type Target } from "../harness.ts";
import { decode, encode, mutatedBytes, mutatedJson } from "../mutate.ts";

const scope = { adapter: "an adapter", kernels: "01234567" };
const [operation, names] = Object.entries(METHODS)[0] as [string, readonly string[]];
const times = Object.fromEntries(names.map((name, i) => [name, i + 1]));
const entries = { [`${operation} 1 2 3`]: { method: names[0] as string, ms: times } };
const table = formatTuning({ ...scope, entries } as Parameters<typeof formatTuning>[0]);
const { checksum: _, ...unsigned } = JSON.parse(table);

/** Refusals that a store only warns of. */
function passedOver<T>(use: (warn: (text: string) => void) => Promise<T | undefined>): () => Promise<T> {
  return async () => {
    const warnings: string[] = [];
    const found = await use((text) => void warnings.push(text));
    if (found !== undefined) return found;
    throw new FileError("cache", warnings.join() || "nothing");
  };
}

const folder = `${ownFolder()}/cache`;
mkdirSync(folder, { recursive: true });

export const tuning: Target = {
  name: "tuning",
  seeds: [encode(table)],
  input: fc.oneof(mutatedJson([JSON.parse(table), unsigned]), mutatedBytes([encode(table)])),
  read: (bytes) =>
    every([
      async () => parseTuning(decode(bytes), "methods.json", scope),
      passedOver((warn) => {
        writeFileSync(tuningFile(folder, scope), bytes);
        return tuningFolder(folder, warn).load(scope);
      }),
    ]),
};

const parts = [100, 1, 700].map((length, i) => new Uint8Array(length).fill(i + 1));
const sizes = parts.map(({ length }) => length);
const note = JSON.stringify({ digests: { a: "0" }, stamps: { f: "1" } });
async function* eachPart() {
  yield* parts;
}
await packedFolder(folder, () => {}).save("key", sizes, eachPart(), note);
const packedFile = `${folder}/${readdirSync(folder).find((name) => name.endsWith(".bin"))}`;
const packedBytes = new Uint8Array(readFileSync(packedFile));

export const packed: Target = {
  name: "packed",
  seeds: [packedBytes],
  input: mutatedBytes([packedBytes]),
  read: (bytes) => {
    writeFileSync(packedFile, bytes);
    return passedOver(unpack)();
  },
};

async function unpack(warn: (text: string) => void): Promise<Uint8Array[] | undefined> {
  const reader = await packedFolder(folder, warn).open("key", sizes);
  if (!reader) return undefined;
  try {
    const read = sizes.map((size) => new Uint8Array(size));
    for (const target of read) if (!(await reader.read(target))) return undefined;
    if (Buffer.compare(Buffer.concat(read), Buffer.concat(parts)) !== 0 || reader.note !== note)
      throw new Error("other weights than were packed");
    return read;
  } finally {
    await reader.close();
  }
}
