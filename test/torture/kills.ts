/** Processes that are killed: whatever they were writing is there whole or not at all, and what goes on ends right. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, watch } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { blobName, serveHub, sha256, type TestHub } from "../support/hub.ts";
import { readFolder, shippedPath } from "../support/models.ts";
import { start } from "../support/process.ts";
import { IMAGES, leftIn, RUN, Shelf } from "./files.ts";
import { demand, type Section, type Tried, type Victim } from "./harness.ts";
import type { Random } from "./random.ts";

type Process = ReturnType<typeof start>;

/** With the exit code of one that tidies up. */
const SIGNALS = [
  ...[["SIGKILL", null] as const, ["SIGKILL", null] as const, ["SIGKILL", null] as const],
  ...[["SIGTERM", 143] as const, ["SIGINT", 130] as const, ["SIGHUP", 129] as const],
];

/** Sends a signal so many files after the first in a folder have been begun or finished, or after a time. */
async function kill(
  { child, ended }: Process,
  { signal, folder, events, delay }: { signal: NodeJS.Signals; folder?: string; events: number; delay: number },
): Promise<number | null> {
  let seen = 0;
  const watcher = folder === undefined ? undefined : watch(folder, () => ++seen === events && later());
  const later = () => void sleep(delay).then(() => child.kill(signal));
  if (!watcher) later();
  const { code } = await ended;
  watcher?.close();
  return code;
}

class Killer implements Victim {
  #count = 0;
  #written = 0;
  #ms = 0;
  private constructor(
    private readonly shelf: Shelf,
    private readonly hub: TestHub,
  ) {}

  static async begin(): Promise<Killer> {
    const shelf = new Shelf();
    const files = readFolder(shippedPath("pixel-avatars-16"));
    const killer = new Killer(shelf, await serveHub({ "org/avatars": { files } }));
    await shelf.fill();
    const began = performance.now();
    const undisturbed = start([...RUN, "-o", "time/", "-q"], { cwd: shelf.folder });
    demand((await undisturbed.ended).code === 0, `a run by itself: ${undisturbed.text.stderr}`);
    killer.#ms = performance.now() - began;
    return killer;
  }

  async attempt(random: Random): Promise<Tried> {
    const folder = this.shelf.at(String(this.#count++));
    mkdirSync(folder);
    const tried = await (random.chance(0.2) ? this.#download(random, folder) : this.#run(random, folder));
    rmSync(folder, { recursive: true });
    return tried;
  }

  /** Milliseconds, of which the first go by while the process starts. */
  #sometime(random: Random): number {
    return this.#ms * (0.4 + 0.6 * random.next());
  }

  /** Pictures, state and packed weights at once; killed while one of them is written, or at any time. */
  async #run(random: Random, folder: string): Promise<Tried> {
    const { shelf } = this;
    for (const name of ["d", "cache", "state"]) mkdirSync(join(folder, name));
    const state = join(folder, "state/s.safetensors");
    const where = (args: readonly string[]) => [...RUN, "-o", "d/", "--cache", "cache", "-q", ...args];
    let args = ["--save-state", "state/s.safetensors"];
    let [cut, resumed, made] = [false, 0, 0];
    for (let round = random.chance(0.25) ? 2 : 1; round > 0; round--) {
      const [signal, expected] = random.pick(SIGNALS);
      const watched = random.pick(["d", "d", "state", "cache", undefined]);
      const most = { d: 4 * IMAGES, state: 16, cache: 3 }[watched ?? "d"] as number;
      const code = await kill(start(where(args), { cwd: folder }), {
        signal,
        ...(watched ? { folder: join(folder, watched) } : {}),
        events: 1 + random.below(most),
        delay: watched ? random.next() * 4 : this.#sometime(random),
      });
      // It may have been done before, or may not have come as far as to hear of signals.
      const isTidy = code !== null;
      demand(code === expected || code === 0 || !isTidy, `after ${signal} it ends with ${code}`);
      cut ||= code !== 0;
      const before = made;
      made = await shelf.demandPictures(join(folder, "d"));
      demand(made >= before, `${before} pictures are ${made}`);
      this.#written += leftIn(folder).length;
      demand(!isTidy || leftIn(folder).length === 0 || round === 1, `left behind: ${leftIn(folder).join(", ")}`);
      const isKept = await shelf.demandState(state);
      demand(isKept || made === 0, "there are pictures, and no state");
      shelf.demandCache(join(folder, "cache"));
      resumed += Number(isKept);
      const again = isKept ? ["--resume", "state/s.safetensors"] : [];
      args = ["--save-state", "state/s.safetensors", ...again];
    }
    const going = existsSync(state) ? ["--resume", state] : [];
    const outputs = ["-o", join(folder, "d/"), "--cache", join(folder, "cache"), "--save-state", state];
    await shelf.succeed([...RUN, ...outputs, ...going]);
    await shelf.demandPictures(join(folder, "d"), IMAGES);
    shelf.demandCache(join(folder, "cache"));
    demand(readdirSync(join(folder, "cache")).length === 1, "the weights are not packed");
    demand(leftIn(folder).length === 0, `left behind: ${leftIn(folder).join(", ")}`);
    return { cut, resumed };
  }

  /** A model of the Hub, on its way into the cache. */
  async #download(random: Random, folder: string): Promise<Tried> {
    const { hub, shelf } = this;
    const env = { HF_ENDPOINT: hub.origin, HF_HOME: folder };
    const args = ["sample", "-m", "org/avatars", ...RUN.slice(1)];
    const stallAfter = random.below(1_200_000);
    hub.trouble = ({ server }) => (server === "cdn" ? { stallAfter } : undefined);
    const [signal] = random.pick(SIGNALS);
    const process = start([...args, "-o", "d/", "-q"], { cwd: folder, env });
    const code = await kill(process, { signal, events: 1, delay: this.#sometime(random) });
    hub.trouble = () => undefined;
    const blobs = join(folder, "hub/models--org--avatars/blobs");
    const named = (name: string) =>
      Object.entries(hub.repos["org/avatars"]?.files ?? {}).find(
        ([path, data]) => blobName(path, data as Uint8Array) === name,
      );
    for (const name of existsSync(blobs) ? readdirSync(blobs) : []) {
      const [, data] = named(name) ?? [];
      if (!data) continue;
      const isWhole = sha256(readFileSync(join(blobs, name))) === sha256(data as Uint8Array);
      demand(isWhole, `${name} in the cache is not what its name says`);
    }
    await shelf.succeed([...args, "-o", join(folder, "d/")], { env });
    await shelf.demandPictures(join(folder, "d"), IMAGES);
    const odd = readdirSync(blobs).filter((name) => !named(name));
    demand(odd.length === 0 && leftIn(folder).length === 0, `left behind: ${[...odd, ...leftIn(folder)].join(", ")}`);
    return { cut: code !== 0 };
  }

  async end(): Promise<string> {
    await this.hub.close();
    this.shelf.remove();
    return `${this.#written} half-written files, none under its name, all swept`;
  }
}

export const kills: Section = {
  ...{
    name: "kills",
    what: "processes killed while they write pictures, states, caches, downloads",
    tries: 100,
    few: 3,
  },
  begin: () => Killer.begin(),
};
