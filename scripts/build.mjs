// Builds dist/ when it is missing or was made from other sources. bin/ddim.js calls this at every start, so the answer
// "nothing to do" has to be quick, and two processes may build at the same time.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const DIST = join(ROOT, "dist");
const STAMP = "sources.sha256";

/** Makes dist/ match the sources; says on stderr when that takes a build. */
export async function ensureBuild() {
  const hash = hashSources();
  if (isFresh(hash)) return;
  if (!existsSync(join(ROOT, "node_modules/tsdown"))) {
    throw new Error("the packages are not installed: run `npm ci --ignore-scripts`");
  }
  process.stderr.write("building dist/ ...\n");
  const [{ build }, { default: config }] = await Promise.all([import("tsdown"), import("../tsdown.config.mjs")]);
  const scratch = join(ROOT, ".cache", `dist.${process.pid}`);
  try {
    // Not by the file's name: tsdown would look for its own packages in the folder that `ddim` is called from.
    await build({ ...config, config: false, cwd: ROOT, outDir: scratch, logLevel: "error" });
    (await import("./maps.mjs")).finishScripts(scratch);
    writeFileSync(join(scratch, STAMP), hash);
    publish(scratch, hash);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** @returns {string} a digest of everything that the build reads, by content: a checkout resets modification times */
function hashSources() {
  // bench/ uses the tests' cases and oracles.
  const folders = ["src", "bench", "test/reference", "test/support"];
  /** @param {string} folder @param {string} ending */
  const below = (folder, ending) =>
    !existsSync(join(ROOT, folder))
      ? []
      : readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
          .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
          .filter((path) => !path.includes("node_modules"));
  // The configurations of the package's models are part of it.
  const sources = [...folders.flatMap((folder) => below(folder, ".ts")), ...below("weights", ".json")];
  const others = [
    "package.json",
    "tsconfig.json",
    "tsdown.config.mjs",
    "scripts/chunks.mjs",
    "scripts/maps.mjs",
    "test/cases.ts",
  ].map((name) => join(ROOT, name));
  const hash = createHash("sha256");
  for (const path of [...sources.sort(), ...others.filter(existsSync)]) {
    const content = readFileSync(path);
    hash.update(`${path.slice(ROOT.length)}\0${content.length}\0`).update(content);
  }
  return hash.digest("hex");
}

/** @param {string} hash */
function isFresh(hash) {
  try {
    return readFileSync(join(DIST, STAMP), "utf8") === hash;
  } catch {
    return false;
  }
}

/**
 * Puts a finished build in the place of dist/, by renaming, so that dist/ is whole whenever it is there. Where another
 * process has been quicker with the same sources, its build stays.
 * @param {string} scratch
 * @param {string} hash
 */
function publish(scratch, hash) {
  const old = `${scratch}.old`;
  while (!isFresh(hash)) {
    try {
      renameSync(DIST, old);
      rmSync(old, { recursive: true, force: true });
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== "ENOENT") throw error;
    }
    try {
      renameSync(scratch, DIST);
    } catch (error) {
      // Somebody else's dist/ is back already: look again whether it will do.
      if (!["ENOTEMPTY", "EEXIST", "EPERM"].includes(/** @type {NodeJS.ErrnoException} */ (error).code ?? ""))
        throw error;
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await ensureBuild();
