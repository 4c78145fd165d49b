/**
 * Files that appear whole or not at all: written under another name beside their place, then renamed. The name says whose
 * it is, so that what a killed process left is removed by the next one that writes there.
 */
import { createHash, randomInt } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync, renameSync, rmSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { codeOf } from "./file.ts";

const NAME = /^\.ddim-([0-9a-f]{8})-(\d{1,10})-\d{1,15}\.tmp$/;

let known: string | undefined;
/** Where process ids mean what they mean here: folders are shared between machines, and between the containers of one. */
function place(): string {
  if (known !== undefined) return known;
  let namespace = "";
  try {
    namespace = readlinkSync("/proc/self/ns/pid");
  } catch {
    // There are none on this system.
  }
  known = createHash("sha256").update(`${hostname()}\n${namespace}`).digest("hex").slice(0, 8);
  return known;
}

/** Begins anywhere, as each thread of a process counts for itself. */
let counter = randomInt(2 ** 47);
/** In use. Whatever ends the process, but for a signal that it does not hear of, they are gone with it. */
const living = new Set<string>();
const dropAll = () => living.forEach(drop);

function drop(temporary: string): void {
  living.delete(temporary);
  try {
    rmSync(temporary, { force: true });
  } catch {
    // It is in nobody's way, and the next start tries again.
  }
}

function beginBeside(path: string): string {
  if (living.size === 0) process.off("exit", dropAll).on("exit", dropAll);
  const temporary = join(dirname(path), `.ddim-${place()}-${process.pid}-${counter++}.tmp`);
  living.add(temporary);
  return temporary;
}

/** Hands out a name beside a path, under which nothing is left in the end. */
export function beside<T>(path: string, use: (temporary: string) => T): T {
  const temporary = beginBeside(path);
  try {
    return use(temporary);
  } finally {
    drop(temporary);
  }
}

/** Makes a file under another name, and then gives it its own. @throws what `make` and renaming throw */
export const appearSync = (path: string, make: (temporary: string) => void): void =>
  beside(path, (temporary) => {
    make(temporary);
    renameSync(temporary, path);
  });

/** The same; a signal cannot come between what is made and its name. */
export async function appear(path: string, make: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = beginBeside(path);
  try {
    await make(temporary);
    renameSync(temporary, path);
  } finally {
    drop(temporary);
  }
}

/** Whether there is such a process, on this machine. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return codeOf(error) !== "ESRCH";
  }
  try {
    // Ended, and nobody has asked how, as in containers without an init.
    return !/^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return true;
  }
}

/** Whether a process is gone that wrote a file. Containers that are started again give the same number again. */
const isLeft = (path: string, pid: number): boolean =>
  pid === process.pid ? lstatSync(path).mtimeMs < Date.now() - process.uptime() * 1000 : !isAlive(pid);

const swept = new Set<string>();

/** Removes what processes of this machine that are gone left in a folder, when it is first asked to. Nothing else is touched. */
export function sweep(folder: string): void {
  const whole = resolve(folder);
  if (swept.has(whole)) return;
  swept.add(whole);
  try {
    for (const name of readdirSync(whole)) {
      const [, where, pid] = NAME.exec(name) ?? [];
      if (where === place() && isLeft(join(whole, name), Number(pid))) drop(join(whole, name));
    }
  } catch {
    // A folder that is not there yet, or may not be read: whoever writes there says so.
  }
}
