/** What runs of the command line leave on disks, and whether that is whole and right. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readState } from "../../src/cli/stateFile.ts";
import { readPng } from "../../src/node/png.ts";
import { ddim, type Outcome, type World } from "../support/cli.ts";
import { demand } from "./harness.ts";

export const IMAGES = 16;
/** A run of eight batches, and of the same pictures wherever they go. */
export const RUN = ["sample", "-n", String(IMAGES), "-b", "2", "-S", "8", "--eta", "1", "--seed", "5"];

/** Names of the files in a folder, without those that somebody was at work on. */
const finished = (folder: string) =>
  existsSync(folder)
    ? readdirSync(folder)
        .filter((name) => !name.endsWith(".tmp"))
        .sort()
    : [];

/** @returns what lies in any of some folders, and should not */
export const leftIn = (...folders: readonly string[]): string[] =>
  folders.flatMap((folder) =>
    existsSync(folder)
      ? readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((n) => n.endsWith(".tmp"))
      : [],
  );

export class Shelf {
  readonly folder = mkdtempSync(join(tmpdir(), "ddim-torture-"));
  #right: Buffer[] = [];
  /** Of the sheet of all pictures. */
  #sheet: Buffer = Buffer.alloc(0);

  at(...parts: readonly string[]): string {
    return join(this.folder, ...parts);
  }

  /** Makes the run undisturbed, with the packed weights in `right-cache/`. */
  async fill(): Promise<void> {
    const cache = this.at("right-cache");
    await this.succeed([...RUN, "-o", this.at("right/"), "--cache", cache]);
    await this.succeed([...RUN, "-o", this.at("right.png")]);
    this.#right = await this.#pictures(this.at("right"));
    this.#sheet = Buffer.from((await readPng(this.at("right.png"))).data);
    demand(this.#right.length === IMAGES, `${this.#right.length} pictures of an undisturbed run`);
  }

  async #pictures(folder: string): Promise<Buffer[]> {
    return Promise.all(finished(folder).map(async (name) => Buffer.from((await readPng(join(folder, name))).data)));
  }

  /** Runs a command to its good end, in which nothing is wrong. @throws Finding */
  async succeed(args: readonly string[], world?: World): Promise<Outcome> {
    const outcome = await ddim([...args, "-q"], world);
    const { code, stderr } = outcome;
    demand(code === 0 && !/^(warning|ddim): /m.test(stderr), `${args.join(" ")}: ends with ${code}: ${stderr}`);
    return outcome;
  }

  /** Whether a folder's pictures are the first of the run, and right. @returns how many there are. @throws Finding */
  async demandPictures(folder: string, count?: number): Promise<number> {
    const names = finished(folder);
    const pictures = await this.#pictures(folder);
    const expected = names.map((_, i) => `${String(i).padStart(3, "0")}.png`);
    demand(names.join() === expected.join(), `${folder} holds ${names.join(", ")}`);
    for (const [i, picture] of pictures.entries())
      demand(picture.equals(this.#right[i] as Buffer), `${folder}: picture ${i} is another`);
    demand(count === undefined || names.length === count, `${folder}: ${names.length} pictures, not ${count}`);
    return names.length;
  }

  /** @throws Finding where there is a sheet of other pictures, or half of one */
  async demandSheet(path: string): Promise<void> {
    const isRight = Buffer.from((await readPng(path)).data).equals(this.#sheet);
    demand(isRight, `${path} is another`);
  }

  /** @returns whether there is a state; then it is whole. @throws FileError */
  async demandState(path: string): Promise<boolean> {
    if (!existsSync(path)) return false;
    await readState(path, new AbortController().signal);
    return true;
  }

  /** Whether packed weights are what an undisturbed run has packed. @throws Finding */
  demandCache(folder: string): void {
    for (const name of finished(folder)) {
      const right = readFileSync(this.at("right-cache", name));
      demand(readFileSync(join(folder, name)).equals(right), `${join(folder, name)} is another`);
    }
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
