/** How many threads a software adapter is given: by the work of a dispatch, and never against the user's word. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { threadsFor } from "../../src/cli/software/threads.ts";
import { openNodeDevice } from "../../src/node/device.ts";
import { folderSource } from "../../src/node/folder.ts";
import { openModel } from "../../src/pipeline/model.ts";
import { shippedPath } from "../support/models.ts";

const open = (name: string) => openModel(folderSource(shippedPath(name)));

describe("threadsFor", () => {
  it("leaves little work to one thread, and everything else to all", async () => {
    const small = await open("pixel-avatars-16");
    const at = (images: number, size: number) => threadsFor(small, { images, height: size, width: size });
    expect(at(1, 16)).toBe(0);
    expect(at(4, 16)).toBeUndefined();
    expect(at(1, 32)).toBeUndefined();
    expect(threadsFor(await open("crawl-tiles-32"), { images: 1, height: 32, width: 32 })).toBeUndefined();
  });

  it("never leaves the decoding of latents to one", async () => {
    const small = await open("pixel-avatars-16");
    const latent = { ...small, firstStage: {} as NonNullable<typeof small.firstStage> };
    expect(threadsFor(latent, { images: 1, height: 16, width: 16 })).toBeUndefined();
  });
});

describe("openNodeDevice", () => {
  let before: string | undefined;
  beforeEach(() => {
    before = process.env.LP_NUM_THREADS;
  });
  afterEach(() => {
    if (before === undefined) delete process.env.LP_NUM_THREADS;
    else process.env.LP_NUM_THREADS = before;
  });

  it.each([
    [0, undefined, "0"],
    [0, "3", "3"],
    [undefined, undefined, undefined],
  ])("asked for %s threads where %s are set leaves %s to the driver", async (threads, set, left) => {
    delete process.env.LP_NUM_THREADS;
    if (set !== undefined) process.env.LP_NUM_THREADS = set;
    using _ = await openNodeDevice({ fast: process.env.DDIM_TEST_FAST === "1", threads });
    expect(process.env.LP_NUM_THREADS).toBe(left);
  });
});
