/** Runs that do not come to their end, whoever ends them: what is finished is there, and right. */
import { spawnSync } from "node:child_process";
import { openSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readState, StateKeeper } from "../../src/cli/stateFile.ts";
import { openNodeDevice } from "../../src/node/device.ts";
import { readPng } from "../../src/node/png.ts";
import type { SavedRun, Step } from "../../src/pipeline/types.ts";
import { encodeSafetensors } from "../../src/weights/encode.ts";
import { ddim, scratchFolder } from "../support/cli.ts";
import { start, until } from "../support/process.ts";

const scratch = scratchFolder();
const at = (...parts: string[]) => join(scratch, ...parts);
const COUNT = 16;
/** Of runs that are killed, so that they are not over before. */
const MANY = 40;
const run = ["sample", "-n", String(COUNT), "-b", "2", "-S", "8", "--eta", "1", "--seed", "5"];
const longer = [...run, "-n", String(MANY)];
const numbered = (from: number, to = COUNT) =>
  Array.from({ length: to - from }, (_, i) => `${String(from + i).padStart(3, "0")}.png`);

let right: Buffer[];
beforeAll(async () => {
  expect((await ddim([...longer, "-o", at("right/"), "-q"])).code).toBe(0);
  right = await picturesIn("right");
  expect(right).toHaveLength(MANY);
});

/** Pixels of the pictures of a folder, in which nothing else is. */
async function picturesIn(folder: string): Promise<Buffer[]> {
  const names = readdirSync(at(folder)).sort();
  expect(names).toEqual(numbered(0, names.length));
  return Promise.all(names.map(async (name) => Buffer.from((await readPng(at(folder, name))).data)));
}

async function isRight(folder: string, count: number): Promise<void> {
  const pictures = await picturesIn(folder);
  expect(pictures).toHaveLength(count);
  for (const [i, picture] of pictures.entries()) expect(picture.equals(right[i] as Buffer), `image ${i}`).toBe(true);
}

describe("a run that is killed at half", () => {
  test.each([
    ["SIGKILL", null],
    ["SIGTERM", 143],
    ["SIGINT", 130],
    ["SIGHUP", 129],
  ] as const)("by %s has half of its pictures, and goes on", async (signal, status) => {
    const [folder, state] = [signal, `${signal}.safetensors`];
    const args = [...longer, "-o", `${folder}/`];
    const killed = start([...args, "--save-state", state], { cwd: scratch });
    const made = () => (readdirSync(scratch).includes(folder) ? readdirSync(at(folder)).length : 0);
    await until(() => made() >= MANY / 2, killed);
    killed.child.kill(signal);
    const { code, stderr } = await killed.ended;
    expect(code).toBe(status);
    const count = made();
    expect(count).toBeLessThan(MANY);
    await isRight(folder, count);
    if (status !== null) {
      expect(stderr).toMatch(
        `ddim: interrupted; ${count} of ${MANY} images are written, missing ${folder}/${numbered(count, MANY)[0]} … ` +
          `${folder}/039.png; --resume ${state} goes on\n`,
      );
      expect(readdirSync(scratch).filter((name) => name.endsWith(".tmp"))).toEqual([]);
    }
    const again = await ddim([...longer, "-o", at(folder, "/"), "--resume", at(state), "-q"]);
    expect(again).toMatchObject({ code: 0 });
    await isRight(folder, MANY);
    expect(readdirSync(scratch).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  const long = ["sample", "-n", "2", "-S", "1000", "-q"];

  test("keeps its state as it is then, without waiting for a second to be over", async () => {
    const killed = start([...long, "-o", "then.png", "--save-state", "then.state"], { cwd: scratch });
    const isKept = () => readdirSync(scratch).includes("then.state");
    await until(isKept, killed);
    const first = statSync(at("then.state")).mtimeMs;
    await new Promise((next) => setTimeout(next, 300));
    killed.child.kill("SIGTERM");
    const { code, stderr } = await killed.ended;
    expect({ code, stderr }).toEqual({ code: 143, stderr: "ddim: interrupted; --resume then.state goes on\n" });
    const { mtimeMs } = statSync(at("then.state"));
    expect(mtimeMs).toBeGreaterThan(first + 200);
    expect(mtimeMs).toBeLessThan(first + 900);
    expect((await readState(at("then.state"), new AbortController().signal)).row).toBeGreaterThan(1);
  });

  test("ends at once at a second signal, whichever it is", async () => {
    const killed = start([...long, "-o", "twice/", "--save-state", "twice.state"], { cwd: scratch });
    await until(() => readdirSync(scratch).includes("twice.state"), killed);
    killed.child.kill("SIGTERM");
    killed.child.kill("SIGHUP");
    expect([129, 143]).toContain((await killed.ended).code);
    expect(readdirSync(scratch).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });
});

describe("what was written before", () => {
  const folder = "before";
  const state = at("before.safetensors");
  const args = [...run, "-o", at(folder, "/"), "-q"];

  beforeAll(async () => {
    const abort = new AbortController();
    const openDevice: typeof openNodeDevice = async (options) => {
      const timer = setInterval(() => {
        if (!readdirSync(scratch).includes(folder) || readdirSync(at(folder)).length < COUNT / 2) return;
        clearInterval(timer);
        abort.abort();
      }, 2);
      return openNodeDevice(options);
    };
    expect((await ddim([...args, "--save-state", state], { signal: abort.signal, openDevice })).code).toBe(130);
  });

  test("is refused without --resume, and where it is not of this run, before anything is done", async () => {
    const other = run.map((word) => (word === "5" ? "6" : word));
    for (const each of [args, [...other, ...args.slice(run.length), "--resume", state]]) {
      const { code, stderr, devices } = await ddim(each);
      expect({ code, devices }).toEqual({ code: 1, devices: 0 });
      expect(stderr).toBe(`ddim: ${at(folder, "000.png")}: exists already; --overwrite replaces it\n`);
    }
    const kept = await picturesIn(folder);
    for (const foreign of ["not a picture", right[0] as Buffer]) {
      const name = at(folder, numbered(kept.length)[0] as string);
      writeFileSync(name, foreign);
      const { code, stderr, devices } = await ddim([...args, "--resume", state]);
      expect({ code, devices }).toEqual({ code: 1, devices: 0 });
      expect(stderr).toBe(`ddim: ${name}: exists already; --overwrite replaces it\n`);
      rmSync(name);
    }
  });

  test("stays, and what is missing is made", async () => {
    rmSync(at(folder, "002.png"));
    const kept = readdirSync(at(folder));
    for (const name of kept) utimesSync(at(folder, name), 5, 5);
    expect((await ddim([...args, "--resume", state])).code).toBe(0);
    await isRight(folder, COUNT);
    for (const name of numbered(0)) expect(statSync(at(folder, name)).mtimeMs === 5000).toBe(kept.includes(name));
    // And once more, with nothing left to be done.
    expect((await ddim([...args, "--resume", state])).code).toBe(0);
    await isRight(folder, COUNT);
  });
});

test("a device that is lost leaves the pictures that are finished", async () => {
  const openDevice: typeof openNodeDevice = async (options) => {
    const device = await openNodeDevice({ ...options, fast: false });
    const timer = setInterval(() => {
      if (!readdirSync(scratch).includes("lost")) return;
      clearInterval(timer);
      device.gpu.destroy();
    }, 2);
    return device;
  };
  const { code, stderr } = await ddim([...run, "-o", at("lost/"), "-q"], { openDevice });
  expect(code).toBe(1);
  const count = readdirSync(at("lost")).length;
  expect(stderr).toMatch(new RegExp(`^ddim: .*lost.*; ${count} of ${COUNT} images are written, missing [^\\n]*\\n$`));
  await isRight("lost", count);
});

describe("nobody who listens:", () => {
  const few = 4;
  const quick = [...run, "-n", String(few)];

  test.each(["-v", "--json"])("a reader of stderr that has gone, with %s", async (flag) => {
    const alone = start([...quick, "-o", `gone${flag}/`, flag], { cwd: scratch });
    alone.child.stderr?.destroy();
    const { code, stdout } = await alone.ended;
    expect(code).toBe(0);
    await isRight(`gone${flag}`, few);
    if (flag === "--json") expect(JSON.parse(stdout).images).toHaveLength(few);
  });

  test("a full disk behind stderr", async () => {
    const full = openSync("/dev/full", "w");
    const alone = start([...quick, "-o", "full/", "-v"], { cwd: scratch, stdio: ["ignore", "ignore", full] });
    expect((await alone.ended).code).toBe(0);
    await isRight("full", few);
  });

  test("a reader of stdout that has gone is no failure, a full disk behind it is one", async () => {
    const args = [...quick, "--json", "-q", "-o"];
    const gone = start([...args, "a/"], { cwd: scratch });
    gone.child.stdout?.destroy();
    const full = start([...args, "b/"], { cwd: scratch, stdio: ["ignore", openSync("/dev/full", "w"), "pipe"] });
    expect((await gone.ended).code).toBe(0);
    const { code, stderr } = await full.ended;
    expect(code).toBe(1);
    expect(stderr).toMatch(/\nddim: stdout cannot be written to \(ENOSPC\)\n$/);
    await isRight("a", few);
    await isRight("b", few);
  });
});

const disk = at("disk");
spawnSync("mkdir", [disk]);
/** Whether this user may have a small disk of its own. */
const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=40k", "ddim-test", disk]).status === 0;
if (!mounted) process.stderr.write("skipped: a full disk, as only root may mount a small one\n");
afterAll(() => {
  if (mounted) spawnSync("umount", ["-l", disk]);
});

describe.skipIf(!mounted)("a full disk", () => {
  const empty = () => {
    for (const name of readdirSync(disk)) rmSync(join(disk, name), { recursive: true });
  };

  test.each(["disk/d/", "disk/%03d.png"])("keeps what fits, and says what is missing: -o %s", async (output) => {
    empty();
    const { code, stderr } = await ddim([...run, "-o", at(output), "-q", "--save-state", at("d.safetensors")]);
    const folder = output.endsWith("/") ? "disk/d" : "disk";
    const count = readdirSync(at(folder)).length;
    expect(count).toBeGreaterThan(0);
    expect(code).toBe(1);
    const next = at(folder, numbered(count)[0] as string);
    expect(stderr).toBe(
      `ddim: ${next}: cannot be written (ENOSPC); ${count} of ${COUNT} images are written, missing ${next} … ` +
        `${at(folder, numbered(COUNT - 1)[0] as string)}; --resume ${at("d.safetensors")} goes on\n`,
    );
    await isRight(folder, count);
  });

  test("under the state and the steps' pictures costs no image", async () => {
    empty();
    writeFileSync(join(disk, "full"), new Uint8Array(36_000));
    const beside = ["--save-state", at("disk/s.safetensors"), "--save-steps", at("disk/steps")];
    const { code, stderr } = await ddim([...run, "-o", at("beside/"), ...beside, "--trace", at("disk/t.json")]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^warning: .*s\.safetensors: cannot be written \(ENOSPC\); the run goes on without$/m);
    const said = (name: string) => `[^;\\n]*${name}: cannot be written \\(ENOSPC\\)`;
    expect(stderr).toMatch(
      new RegExp(
        `\\nddim: ${said("disk/s\\.safetensors")}; ${said("image-0000-step-\\d+\\.png")}; ${said("disk/t\\.json")}; ` +
          "the images are written\\n$",
      ),
    );
    expect(readdirSync(disk).sort()).toEqual(["full", "steps"]);
    await isRight("beside", COUNT);
  });

  test("stops decoding with what is decoded", async () => {
    empty();
    const data = Float32Array.from({ length: 40 * 4 * 64 }, (_, i) => Math.sin(i * i));
    const latents = { latents: { dtype: "F32", shape: [40, 4, 8, 8], data } } as const;
    writeFileSync(at("latents.safetensors"), encodeSafetensors(latents));
    const model = "test/golden/autoencoders/kl";
    const decode = ["decode", "-m", model, at("latents.safetensors"), "-q", "-o"];
    const { code, stderr } = await ddim([...decode, at("disk/d/")]);
    const count = readdirSync(at("disk/d")).length;
    expect({ code, stderr }).toMatchObject({ code: 1 });
    expect(count).toBeGreaterThan(0);
    expect(stderr).toMatch(new RegExp(`cannot be written \\(ENOSPC\\); ${count} of 40 images are written, missing `));
  });
});

describe("the state of an interruption", () => {
  const saved = {
    state: { shape: [1, 1, 1, 1], data: new Float32Array(1) },
    history: new Float32Array(),
    done: new Float32Array(),
    seed: 1n,
  } as unknown as SavedRun;
  let saves = 0;
  const step = (index: number, of = 100): Step =>
    ({
      index,
      of,
      save: async () => {
        saves++;
        return saved;
      },
    }) as unknown as Step;

  test("is its last step: kept at once where it is kept already, otherwise with the step that comes", async () => {
    for (const taken of [0, 1, 2]) {
      const abort = new AbortController();
      const keep = new StateKeeper(at("kept.safetensors"), abort.signal, () => {});
      saves = 0;
      for (let i = 0; i < taken; i++) await keep.step(step(i));
      expect(saves).toBe(Math.min(taken, 1));
      abort.abort(new Error("enough"));
      // The first step was kept when it came, and so there is nothing to wait for.
      expect(keep.signal.aborted).toBe(taken < 2);
      if (taken < 2) continue;
      await keep.step(step(taken));
      expect(saves).toBe(2);
      expect(keep.signal.aborted).toBe(true);
      expect(keep.signal.reason).toEqual(new Error("enough"));
    }
  });

  test("is tried again where it could not be written, and says what there is", async () => {
    const abort = new AbortController();
    const path = at("blocked/s.safetensors");
    const warnings: string[] = [];
    const keep = new StateKeeper(path, abort.signal, (text) => warnings.push(text));
    await keep.step(step(0));
    const failed = `${path}: cannot be written (ENOENT)`;
    expect(keep.failure?.message).toBe(failed);
    expect(keep.kept).toBe(failed);
    spawnSync("mkdir", [at("blocked")]);
    abort.abort();
    expect(keep.signal.aborted).toBe(false);
    await keep.step(step(1));
    expect(keep.signal.aborted).toBe(true);
    expect(keep.failure).toBeUndefined();
    expect(keep.kept).toBe(`--resume ${path} goes on`);
    rmSync(at("blocked"), { recursive: true });
    await keep.step(step(99));
    expect(keep.kept).toBe(`${failed}, so it has an earlier step`);
    expect(warnings).toEqual([failed, failed].map((text) => `${text}; the run goes on without`));
  });
});
