/** Inputs as files, for readers that open them. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

let folder: string | undefined;

/** A folder of this process, removed at its end. */
export function ownFolder(): string {
  if (folder) return folder;
  const made = mkdtempSync(join(tmpdir(), "ddim-fuzz-"));
  process.on("exit", () => rmSync(made, { recursive: true, force: true }));
  folder = made;
  return made;
}

/** Writes bytes to a file of that name, and returns its path. */
export function onDisk(name: string, bytes: Uint8Array): string {
  const path = join(ownFolder(), name);
  writeFileSync(path, bytes);
  return path;
}
