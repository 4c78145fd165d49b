/** Disks that are full, somewhere in a run: what fits is whole and right, what is missing is said, and made once there is room. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ddim } from "../support/cli.ts";
import { IMAGES, leftIn, RUN, Shelf } from "./files.ts";
import { demand, type Section, type Tried, type Victim } from "./harness.ts";
import type { Random } from "./random.ts";

const mount = (folder: string, options: string) =>
  spawnSync("mount", ["-t", "tmpfs", "-o", options, "ddim-torture", folder]).status === 0;

const unmount = (folder: string) => spawnSync("umount", ["-l", folder]);

class FullDisk implements Victim {
  #folder: string;

  private constructor(private readonly shelf: Shelf) {
    this.#folder = shelf.at("disk");
  }

  static async begin(): Promise<FullDisk> {
    const shelf = new Shelf();
    await shelf.fill();
    const disk = new FullDisk(shelf);
    mkdirSync(disk.#folder);
    demand(mount(disk.#folder, "size=1m"), "a small disk cannot be mounted");
    return disk;
  }

  /** A disk of so many kB, with nothing on it. */
  #empty(kilobytes: number): void {
    for (const name of readdirSync(this.#folder)) rmSync(join(this.#folder, name), { recursive: true });
    demand(mount(this.#folder, `remount,size=${kilobytes}k`), "a small disk cannot have another size");
  }

  async attempt(random: Random): Promise<Tried> {
    const { shelf } = this;
    this.#empty(4 * (1 + random.below(30)));
    const on = (name: string, chance: number) => (random.chance(chance) ? join(this.#folder, name) : shelf.at(name));
    const form = random.pick(["d/", "d/", "d/", "sheet.png"]);
    const output = on(form, 0.8);
    const state = on("s.safetensors", 0.4);
    const cache = random.chance(0.4) ? ["--cache", join(this.#folder, "cache")] : [];
    const args = [...RUN, "-o", output, ...cache, "--save-state", state];
    const { code, stderr } = await ddim([...args, "-q"]);
    const lines = stderr.split("\n").filter((line) => line !== "" && !line.startsWith("seed 5, "));
    demand(code === 0 || code === 1, `ends with ${code}: ${stderr}`);
    for (const line of lines)
      demand(/^(ddim|warning): .*cannot be written \(ENOSPC\)/.test(line), `a full disk is told as ${line}`);
    demand(leftIn(shelf.folder).length === 0, `left behind: ${leftIn(shelf.folder).join(", ")}`);
    const isKept = await shelf.demandState(state);
    const made = await this.#demandOutput(output, form);
    if (cache.length > 0) shelf.demandCache(join(this.#folder, "cache"));
    const isWhole = code === 0 && isKept && made;
    demand(isWhole || code === 1, "something is missing, and it ends with 0");
    demand(code === 0 || /^ddim: /m.test(stderr), `it ends with 1 and says ${stderr}`);
    spawnSync("mount", ["-o", "remount,size=8m", this.#folder]);
    const again = isKept ? ["--resume", state] : [];
    // Of pictures in files of their own those that are there are known again.
    const over = isKept && form === "d/" ? [] : ["--overwrite"];
    await shelf.succeed([...args, ...again, ...over]);
    demand(await this.#demandOutput(output, form), "not all is there once there is room");
    for (const path of [output, state]) rmSync(path, { recursive: true, force: true });
    return { cut: code !== 0 || lines.length > 0, resumed: Number(isKept) };
  }

  /** @returns whether all pictures are there. @throws Finding where one is another */
  async #demandOutput(output: string, form: string): Promise<boolean> {
    if (form === "d/") return (await this.shelf.demandPictures(output)) === IMAGES;
    if (!existsSync(output)) return false;
    await this.shelf.demandSheet(output);
    return true;
  }

  async end(): Promise<string> {
    unmount(this.#folder);
    this.shelf.remove();
    return "";
  }
}

function whyNot(): string | undefined {
  const shelf = new Shelf();
  const mounted = mount(shelf.folder, "size=64k");
  if (mounted) unmount(shelf.folder);
  shelf.remove();
  return mounted ? undefined : "only root may mount a small disk";
}

export const disks: Section = {
  ...{ name: "disks", what: "disks of 4 to 120 kB, with pictures, states or caches on them", tries: 20, few: 3 },
  skipped: whyNot(),
  begin: () => FullDisk.begin(),
};
