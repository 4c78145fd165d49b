/** Tables of measured methods in a folder, a file for each adapter and version. */
import { createHash } from "node:crypto";
import { mkdir, readFile, rename, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { formatTuning, parseTuning, type TuningScope, type TuningStore } from "../pipeline/tuningTable.ts";
import { FileError } from "../runtime/errors.ts";

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

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code;

/**
 * A store over a folder, made when something is saved. Files appear whole or not at all.
 * Its functions throw FileError, naming the file, for one that cannot be read or written, is damaged, or is another's.
 */
export function tuningFolder(folder: string): Required<TuningStore> {
  return {
    async load(scope) {
      const file = tuningFile(folder, scope);
      const text = await readFile(file, "utf8").catch((cause) => {
        if (codeOf(cause) === "ENOENT") return undefined;
        throw new FileError(file, `cannot be read (${codeOf(cause)})`, { cause });
      });
      return text === undefined ? undefined : parseTuning(text, file, scope);
    },
    async save(table) {
      const file = tuningFile(folder, table);
      const temporary = `${file}.${process.pid}.tmp`;
      try {
        await mkdir(folder, { recursive: true });
        await writeFile(temporary, formatTuning(table));
        await rename(temporary, file);
      } catch (cause) {
        await unlink(temporary).catch(() => {});
        throw new FileError(file, `cannot be written (${codeOf(cause)})`, { cause });
      }
    },
  };
}
