/** Inputs that were once wrong, and what is right: files by reader, and in `expected.json` the beginning of each one's answer. */

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";

const CORPUS = "test/fuzz/corpus";

/** By `reader/file`: "" is read, anything else is a part of its refusal. */
export const expected: Readonly<Record<string, string>> = JSON.parse(readFileSync(`${CORPUS}/expected.json`, "utf8"));

/** Inputs of a reader by their names. */
export function corpusOf(reader: string): [name: string, bytes: Uint8Array][] {
  const folder = `${CORPUS}/${reader}`;
  const names = existsSync(folder) ? readdirSync(folder).sort() : [];
  return names.map((name) => [`${reader}/${name}`, new Uint8Array(readFileSync(`${folder}/${name}`))]);
}

/** Keeps an input under the digest of its bytes. @returns its path */
export function keep(reader: string, bytes: Uint8Array): string {
  const folder = `${CORPUS}/${reader}`;
  mkdirSync(folder, { recursive: true });
  const path = `${folder}/${createHash("sha256").update(bytes).digest("hex").slice(0, 12)}`;
  writeFileSync(path, bytes);
  return path;
}
