/** `-m` with an address, a file's address and an id of the Hugging Face Hub, from the first request to the command in the picture. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { encodePng } from "../../src/image/png.ts";
import { readPngText } from "../../src/image/pngText.ts";
import { loadPipeline } from "../../src/node/index.ts";
import { encodeSafetensors } from "../../src/weights/encode.ts";
import { ddim, scratchFolder } from "../support/cli.ts";
import { testDevice } from "../support/gpu.ts";
import { serveHub, type TestHub } from "../support/hub.ts";
import { goldenPath, readFolder, shippedPath } from "../support/models.ts";
import { type StaticServer, serveFolders } from "../support/staticServer.ts";

const scratch = scratchFolder();
const WEIGHTS = "unet/diffusion_pytorch_model.safetensors";
let hub: TestHub;
let server: StaticServer;
let count = 0;
let env: Record<string, string>;

beforeAll(async () => {
  hub = await serveHub({
    "org/avatars": { files: readFolder(shippedPath("pixel-avatars-16")) },
    "org/kl": { files: readFolder(goldenPath("autoencoders/kl")) },
  });
  server = await serveFolders({
    "/models/": dirname(shippedPath("x")),
    "/pickles/": join(import.meta.dirname, "../weights/pickles"),
  });
});
afterAll(async () => {
  await hub.close();
  await server.close();
});
beforeEach(() => {
  hub.trouble = () => undefined;
  hub.asked.length = 0;
  env = { HF_ENDPOINT: hub.origin, HOME: join(scratch, `home${count++}`) };
});

const at = (name: string) => join(scratch, name);
const commandIn = async (path: string) => {
  const texts = await readPngText(readFileSync(path), path);
  return Object.values(texts).join("\n");
};
const avatars = ["-S", "2", "--seed", "1", "-q", "-o"];
const pixels = async (model: string, output: string, ...more: string[]) => {
  const run = await ddim(["sample", "-m", model, ...more, ...avatars, at(output)], { env });
  expect(run.stderr).not.toContain("ddim:");
  expect(run.code).toBe(0);
  return readFileSync(at(output));
};
/** Of the picture alone. */
const data = (png: Buffer) => png.subarray(png.indexOf("IDAT"), png.lastIndexOf("IEND"));

test("sample makes the same picture of a folder, its address, a file's address and an id", async () => {
  const local = data(await pixels(shippedPath("pixel-avatars-16"), "local.png"));
  const base = `${server.origin}/models/pixel-avatars-16`;
  const config = `${base}/unet/config.json`;
  expect(data(await pixels(base, "folder.png")).equals(local)).toBe(true);
  expect(data(await pixels(`${base}/model_index.json?token=secret`, "index.png")).equals(local)).toBe(true);
  expect(data(await pixels("org/avatars", "id.png")).equals(local)).toBe(true);
  const commit = hub.commit("org/avatars");
  expect(data(await pixels(`org/avatars@${commit}`, "commit.png")).equals(local)).toBe(true);

  expect(await commandIn(at("folder.png"))).toContain(`-m ${base} `);
  expect(await commandIn(at("index.png"))).toMatch(/-m http:\/\/\S+\/models\/pixel-avatars-16 /);
  expect(await commandIn(at("id.png"))).toContain(`-m org/avatars@${commit} `);

  // One file has no scheduler beside it here.
  // A configuration that is named takes the place of the one in the folder's unet/.
  const named = ["--config", join(shippedPath("pixel-avatars-16"), "unet/config.json")];
  expect(data(await pixels(shippedPath("pixel-avatars-16"), "named.png", ...named)).equals(local)).toBe(true);
  const file = await ddim(["inspect", "-m", `${base}/${WEIGHTS}`, "--config", config, "--json"], { env });
  expect(JSON.parse(file.stdout)).toMatchObject({ kind: "model", name: "diffusion_pytorch_model" });
  // What an address spells with percent signs is the same name.
  const spelt = await ddim(["inspect", "-m", base.replace("pixel-", "pixel%2D"), "--json"], { env });
  expect(JSON.parse(spelt.stdout)).toMatchObject({ kind: "model", name: "pixel-avatars-16" });
  const table = await ddim(["inspect", `${base}/${WEIGHTS}?x=y`, "--json"], { env });
  expect(JSON.parse(table.stdout)).toMatchObject({ kind: "safetensors" });
});

test("operations and single evaluations take an id, and record its commit", async () => {
  await pixels("org/avatars", "start.png");
  const commit = hub.commit("org/avatars");
  const edit = ["edit", at("start.png"), "--strength", "0.5", "-S", "2", "-o", at("edited.png")];
  for (const model of [["-m", "org/avatars"], ["--model=org/avatars"], ["-morg/avatars"]]) {
    const run = await ddim([...edit, ...model, "--overwrite"], { env });
    expect(run.code).toBe(0);
    expect(await commandIn(at("edited.png"))).toMatch(new RegExp(`(-m |--model=|-m)org/avatars@${commit}`));
  }
  const timestep = { dtype: "F32", shape: [1], data: Float32Array.of(10) } as const;
  const sample = { dtype: "F32", shape: [1, 3, 16, 16], data: new Float32Array(768) } as const;
  const labels = { dtype: "F32", shape: [1], data: Float32Array.of(0) } as const;
  writeFileSync(at("in.safetensors"), encodeSafetensors({ sample, timestep, class_labels: labels }));
  const forward = await ddim(
    ["forward", "-m", "org/avatars", "--input", at("in.safetensors"), "-o", at("out.safetensors")],
    { env },
  );
  expect([forward.code, forward.stderr]).toEqual([0, expect.not.stringContaining("ddim:")]);
});

test("an autoencoder is taken by its id, for decode and encode, and without asking when offline", async () => {
  const picture = at("grey.png");
  writeFileSync(picture, await encodePng({ width: 32, height: 32, data: new Uint8ClampedArray(4096).fill(127) }));
  const encode = ["encode", "-m", "org/kl", picture, "-o", at("latents.safetensors"), "-q", "--overwrite"];
  expect(await ddim(encode, { env })).toMatchObject({ code: 0, stderr: "" });
  const vae = "vae/diffusion_pytorch_model.safetensors";
  expect(hub.asked.filter(({ path, server }) => server === "cdn" && !path.endsWith(vae))).toEqual([]);
  hub.asked.length = 0;
  const offline = { ...env, HF_HUB_OFFLINE: "1" };
  const decode = ["decode", "-m", "org/kl", at("latents.safetensors"), "-o", at("decoded.png"), "-q"];
  expect(await ddim(decode, { env: offline })).toMatchObject({ code: 0, stderr: "" });
  expect(await commandIn(at("decoded.png"))).toContain(`-m org/kl@${hub.commit("org/kl")} `);
  expect(hub.asked).toEqual([]);
});

test("schedule and inspect download no weights", async () => {
  expect((await ddim(["schedule", "-m", "org/avatars", "-S", "2"], { env })).code).toBe(0);
  const inspected = await ddim(["inspect", "org/avatars", "--json"], { env });
  expect(JSON.parse(inspected.stdout)).toMatchObject({ kind: "model", name: "avatars" });
  const blobs = readdirSync(join(env.HOME!, ".cache/huggingface/hub/models--org--avatars/blobs"));
  expect(blobs.length).toBeGreaterThan(1);
  expect(blobs.every((name) => name.length === 40)).toBe(true);
});

test("convert takes the address of a pickle, and a model's id", async () => {
  const pickles = readdirSync(join(import.meta.dirname, "../weights/pickles")).filter((name) =>
    /\.(pt|bin|ckpt)$/.test(name),
  );
  const data = readFileSync(join(import.meta.dirname, "../weights/pickles", pickles[0] as string));
  const url = `${server.origin}/pickles/${pickles[0]}`;
  const run = await ddim(["convert", url, at("web.safetensors")], { env });
  expect([run.code, run.stderr.includes("ddim:")]).toEqual([0, false]);
  hub.repos = {
    ...hub.repos,
    "org/pickle": { files: { "unet/config.json": "{}", "unet/diffusion_pytorch_model.bin": data } },
  };
  expect((await ddim(["convert", "org/pickle", at("id.safetensors")], { env })).code).toBe(0);
  expect(readFileSync(at("id.safetensors")).equals(readFileSync(at("web.safetensors")))).toBe(true);
  const already = await ddim(["convert", "org/avatars", at("no.safetensors")], { env });
  expect([already.code, already.stderr]).toEqual([
    1,
    expect.stringContaining(`org/avatars/${WEIGHTS}: is a safetensors file already`),
  ]);
  expect(existsSync(at("no.safetensors"))).toBe(false);
});

test.each([
  ["org/nothing", /^ddim: org\/nothing: there is no such folder here, and 127.* has no model of this id .*HF_TOKEN\n$/],
  ["org/avatars@v9", /^ddim: org\/avatars: 127.* has no branch, tag or commit v9 of it\n$/],
  ["a/b/c", /^ddim: a\/b\/c: there is no such folder\n$/],
])("%s is one sentence", async (model, sentence) => {
  for (const command of ["sample", "inspect", "schedule", "tune", "doctor"]) {
    const run = await ddim([command, "-m", model], { env: { ...env, XDG_CACHE_HOME: scratch } });
    expect([run.code, run.devices]).toEqual([1, 0]);
    expect(run.stderr).toMatch(sentence);
  }
});

test("a folder here goes before an id", async () => {
  const home = process.cwd();
  process.chdir(shippedPath(".."));
  try {
    expect((await ddim(["schedule", "-m", "weights/pixel-avatars-16", "-S", "2"], { env })).code).toBe(0);
    expect(hub.asked).toEqual([]);
    const asked = await ddim(["schedule", "-m", "weights/pixel-avatars-16@main"], { env });
    expect([asked.code, hub.asked.length]).toEqual([1, 1]);
  } finally {
    process.chdir(home);
  }
});

test("Ctrl-C in a download leaves what came, which the next command goes on with", async () => {
  const controller = new AbortController();
  hub.trouble = (asked) => {
    if (asked.server !== "cdn" || asked.range) return undefined;
    setTimeout(() => controller.abort(new DOMException("interrupted", "AbortError")), 200);
    return { stallAfter: 1_000_000 };
  };
  const world = { env, signal: controller.signal, tty: true };
  const stopped = await ddim(
    ["sample", "-m", "org/avatars", ...avatars.filter((word) => word !== "-q"), at("stopped.png")],
    world,
  );
  expect([stopped.code, stopped.devices]).toEqual([130, 0]);
  expect(stopped.stderr).toContain(`${WEIGHTS}, MB`);
  hub.trouble = () => undefined;
  hub.asked.length = 0;
  await pixels("org/avatars", "resumed.png");
  expect(hub.asked.filter(({ server }) => server === "cdn").map(({ range }) => range)).toContain("bytes=1000000-");
});

test("loadPipeline takes an id, and tells the bytes", async () => {
  const events: string[] = [];
  for (const [key, value] of Object.entries(env)) vi.stubEnv(key, value);
  try {
    using pipe = await loadPipeline("org/avatars", {
      device: await testDevice(),
      onProgress: (event) => event.type === "download" && event.loaded === event.total && events.push(event.file),
    });
    expect(pipe.model.name).toBe("avatars");
    expect(events).toContain(WEIGHTS);
  } finally {
    vi.unstubAllEnvs();
  }
});
