/** Packed weights in a folder: the same images from them, whatever becomes of the files. */
import {
  closeSync,
  cpSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { folderSource } from "../../src/node/folder.ts";
import { loadPipeline } from "../../src/node/index.ts";
import { openModel } from "../../src/node/model.ts";
import { packedFolder } from "../../src/node/packedFolder.ts";
import { createPipeline } from "../../src/pipeline/load.ts";
import { modelId } from "../../src/pipeline/modelId.ts";
import type { LoadOptions } from "../../src/pipeline/types.ts";
import { ddim, scratchFolder } from "../support/cli.ts";
import { testDevice } from "../support/gpu.ts";

const scratch = scratchFolder();
const device = await testDevice();
const model = await openModel(folderSource("weights/pixel-avatars-16"));

/** Loads through a folder and samples: the image, bytes that were read of the checkpoint, and what was said. */
async function load(folder: string, options: LoadOptions = {}, from = model) {
  const warnings: string[] = [];
  let read = 0;
  const packed = packedFolder(join(scratch, folder), (text) => warnings.push(text));
  const before = device.counters.liveObjects;
  const pipeline = await createPipeline(from, {
    device,
    packed,
    ...options,
    onProgress: (event) => {
      if (event.type === "download") read = event.loaded;
    },
  });
  const { samples } = await pipeline.generate({ seed: 3, steps: 2 });
  pipeline.dispose();
  expect(device.counters.liveObjects).toBe(before);
  return { image: samples.data, read, warnings, files: readdirSync(join(scratch, folder)) };
}

test("the second load reads the folder instead of the checkpoint, bit for bit", async () => {
  const first = await load("a");
  expect(first.warnings).toEqual([]);
  expect(first.files).toEqual([expect.stringMatching(/^weights-[0-9a-f]{24}\.bin$/)]);
  const second = await load("a");
  expect(second).toEqual({ ...first, read: expect.any(Number) });
  // Vectors and tables are still read.
  expect(second.read).toBeGreaterThan(0);
  expect(second.read).toBeLessThan(first.read / 20);
});

test("another type, and other kernels for the same layers, are entries of their own", async () => {
  const before = readdirSync(join(scratch, "a"));
  const half = await load("a", { dtype: "f16" });
  expect(half.files.length).toBe(before.length + 1);
  const winograd = await load("a", {
    tuning: {
      load: async (scope) => ({
        ...scope,
        entries: { "conv2d 16x16x32 f32 to 16x16x32 f32": { method: "winograd", ms: { winograd: 1 } } },
      }),
    },
  });
  const changes = device.capabilities.software && device.capabilities.subgroupSize > 0 ? 1 : 0;
  expect(winograd.files.length).toBe(half.files.length + changes);
});

test("a damaged file is told by name, ignored and replaced", async () => {
  const { image, files, read } = await load("b");
  const path = join(scratch, "b", files[0] as string);
  const good = readFileSync(path);
  const flipped = Buffer.from(good);
  flipped[good.length >> 1] = (flipped[good.length >> 1] as number) ^ 1;
  const note = Buffer.from(good);
  note[good.indexOf("digests") + 20] = 0x30 + ((note[good.indexOf("digests") + 20] as number) & 1);
  for (const content of [flipped, note, good.subarray(0, -1), Buffer.from("?"), Buffer.concat([good, good])]) {
    writeFileSync(path, content);
    const again = await load("b");
    expect(again).toEqual({ image, files, read, warnings: [`${path}: is damaged; the weights are packed anew`] });
    expect(readFileSync(path).equals(good)).toBe(true);
  }
});

/** Loads a folder's model as it is now, through the packed weights in "c". */
async function loadFolder(folder: string) {
  const changing = await openModel(folderSource(folder));
  const loaded = await load("c", {}, changing);
  return { ...loaded, id: await modelId(changing) };
}

test("weights that are other ones beyond their first KiB are packed anew, whatever was done to the file", async () => {
  const [folder, unet] = [join(scratch, "model"), join(scratch, "model/unet/diffusion_pytorch_model.safetensors")];
  cpSync("weights/pixel-avatars-16", folder, { recursive: true });
  const good = readFileSync(unet);
  const other = Buffer.from(good);
  // Into the largest tensor's middle: the exponent of a weight.
  const largest = [...model.checkpoint.tensors.values()].reduce((a, b) => (b.end - b.start > a.end - a.start ? b : a));
  const at = largest.start + 4 * Math.floor((largest.end - largest.start) / 8) + 3;
  other[at] = (other[at] as number) ^ 0x01;
  const first = await loadFolder(folder);
  const again = await loadFolder(folder);
  expect(again).toEqual({ ...first, read: again.read });
  expect(again.read).toBeLessThan(first.read / 20);

  const { atime, mtime } = statSync(unet);
  const inPlace = (data: Buffer) => {
    const file = openSync(unet, "r+");
    writeSync(file, data);
    closeSync(file);
    utimesSync(unet, atime, mtime);
  };
  const replaced = (data: Buffer) => {
    writeFileSync(`${unet}.new`, data);
    renameSync(`${unet}.new`, unet);
    utimesSync(unet, atime, mtime);
  };
  let changed: Awaited<ReturnType<typeof loadFolder>> | undefined;
  for (const change of [inPlace, replaced]) {
    change(other);
    const now = await loadFolder(folder);
    expect(now.image).not.toEqual(first.image);
    changed ??= now;
    expect({ image: now.image, id: now.id }).toEqual({ image: changed.image, id: changed.id });
    change(good);
    expect((await loadFolder(folder)).image).toEqual(first.image);
  }
  // The same bytes in other files: read once more to know it, then known by the files.
  replaced(good);
  const touched = await loadFolder(folder);
  expect(touched.read).toBeGreaterThan(0);
  const known = await loadFolder(folder);
  expect(known).toEqual({ ...first, read: again.read });
});

test("files of the version before are told so, and replaced", async () => {
  const { image, files } = await load("d");
  const path = join(scratch, "d", files[0] as string);
  const good = readFileSync(path);
  writeFileSync(path, `{"format":"ddim-webgpu packed weights 1","order":"LE","sizes":[1]}\n`);
  const again = await load("d");
  expect(again.image).toEqual(image);
  expect(again.warnings).toEqual([`${path}: is of an earlier version; the weights are packed anew`]);
  expect(readFileSync(path).equals(good)).toBe(true);
});

test("a folder that cannot be used is a warning", async () => {
  const { image } = await load("b");
  writeFileSync(join(scratch, "file"), "");
  const warnings: string[] = [];
  const packed = packedFolder(join(scratch, "file"), (text) => warnings.push(text));
  using pipeline = await createPipeline(model, { device, packed });
  expect((await pipeline.generate({ seed: 3, steps: 2 })).samples.data).toEqual(image);
  expect(warnings).toEqual([
    expect.stringMatching(/weights-\w+\.bin: cannot be read \(ENOTDIR\); the weights are packed anew$/),
    expect.stringMatching(/weights-\w+\.bin: cannot be written \(E\w+\)$/),
  ]);
});

test("--cache keeps them; without it nothing is written", async () => {
  const [cache, home] = [join(scratch, "cli"), join(scratch, "home")];
  mkdirSync(home);
  const sample = (name: string, ...args: string[]) =>
    ddim(["sample", "-S", "1", "--seed", "1", "-q", "-o", join(scratch, name), ...args], {
      env: { XDG_CACHE_HOME: home },
    });
  expect((await sample("first.safetensors", "--cache", cache)).code).toBe(0);
  expect(readdirSync(cache)).toHaveLength(1);
  expect((await sample("second.safetensors")).code).toBe(0);
  expect(readdirSync(home)).toEqual([]);
});

test("what pages say to their cache is refused here", async () => {
  for (const cache of [true, 7, null, "reload", ""])
    await expect(loadPipeline("weights/pixel-avatars-16", { cache: cache as never })).rejects.toThrow(
      `cache must be a folder or false here, got ${JSON.stringify(cache)}; true and "reload" are for pages`,
    );
});
