/** Tables of measured methods in a folder, a file for each adapter and version. */
import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { formatTuning, parseTuning, type TuningScope, type TuningStore } from "../pipeline/tuningTable.ts";
import { FileError } from "../runtime/errors.ts";
import { codeOf, readAt, withFile } from "./file.ts";
import { placeToWrite } from "./place.ts";
import { appear, sweep } from "./temporary.ts";

/**
 * Where tables and the like belong on this machine: `$XDG_CACHE_HOME/ddim-webgpu`, or `.cache/ddim-webgpu` in the home
 * folder; undefined where the environment names neither.
 */
export function cacheFolder(env: Readonly<Record<string, string | undefined>>): string | undefined {
  const home = env.HOME || env.USERPROFILE;
  const base = env.XDG_CACHE_HOME || (home && join(home, ".cache"));
  return base && join(base, "ddim-webgpu");
}

/** The file of a scope in a folder. */
export function tuningFile(folder: string, { adapter, kernels }: TuningScope): string {
  const id = createHash("sha256").update(`${adapter}\n${kernels}`).digest("hex").slice(0, 12);
  return join(folder, `methods-${id}.json`);
}

/** A network's table has some kilobytes. */
const MOST_BYTES = 16 * 2 ** 20;

/** A table's text. @throws FileError when it cannot be had, or is larger than any table */
export async function readTable(file: string): Promise<string> {
  const bytes = await withFile(file, (handle, size) => readAt(handle, 0, Math.min(size, MOST_BYTES + 1)));
  if (bytes.byteLength > MOST_BYTES) throw new FileError(file, `is larger than any table, ${MOST_BYTES} bytes`);
  return new TextDecoder().decode(bytes);
}

/**
 * A store over a folder, made when something is saved. Files appear whole or not at all. One that cannot be read, is damaged,
 * or is another's is passed over, as if it were not there; the next table that is saved takes its place.
 *
 * @param warn is told about such files. Saving throws FileError for a file that cannot be written.
 */
export function tuningFolder(
  folder: string,
  warn: (text: string) => void = (text) => process.emitWarning(text),
): Required<TuningStore> {
  return {
    async load(scope) {
      sweep(folder);
      const file = tuningFile(folder, scope);
      try {
        return parseTuning(await readTable(file), file, scope);
      } catch (error) {
        if (!(error instanceof FileError)) throw error;
        if (codeOf(error.cause) !== "ENOENT") warn(`${error.message}; passed over, \`ddim tune\` replaces it`);
        return undefined;
      }
    },
    async save(table) {
      const file = placeToWrite(tuningFile(folder, table));
      try {
        await mkdir(folder, { recursive: true });
        await appear(file, (temporary) => writeFile(temporary, formatTuning(table)));
      } catch (cause) {
        throw new FileError(file, `cannot be written (${codeOf(cause)})`, { cause });
      }
    },
  };
}
