import { describe, expect, test } from "vitest";
import { folderSource } from "../../src/node/folder.ts";
import { findComponent, readModelIndex, readSchedulerConfig } from "../../src/weights/components.ts";
import { failure, memorySource } from "./memory-source.ts";

const CONFIG = '{"_class_name": "UNet2DModel"}';
const SCHEDULER = '{"_class_name": "DDIMScheduler"}';

describe("components", () => {
  test("a pipeline's folder", async () => {
    const source = memorySource({
      "model_index.json": '{"_class_name": "DDIMPipeline"}',
      "config.json": CONFIG,
      "unet/config.json": CONFIG,
      "scheduler/scheduler_config.json": SCHEDULER,
    });
    expect(await findComponent(source, "unet")).toBe("unet");
    expect(await readSchedulerConfig(source)).toEqual({
      file: "model/scheduler/scheduler_config.json",
      config: { _class_name: "DDIMScheduler" },
    });
    expect(await readModelIndex(source)).toEqual({ _class_name: "DDIMPipeline" });
  });

  test("a flat folder", async () => {
    const source = memorySource({ "config.json": CONFIG, "scheduler_config.json": SCHEDULER });
    expect(await findComponent(source, "unet")).toBe("");
    expect((await readSchedulerConfig(source))?.file).toBe("model/scheduler_config.json");
    expect(await readModelIndex(source)).toBeUndefined();
  });

  test("a component's own folder has no scheduler", async () => {
    const source = memorySource({ "config.json": CONFIG });
    expect(await findComponent(source, "unet")).toBe("");
    expect(await readSchedulerConfig(source)).toBeUndefined();
  });

  test("the originals' layouts: one folder, perhaps with YAML", async () => {
    const source = memorySource({ "config.yaml": "a: 1" });
    expect(await findComponent(source, "unet")).toBe("");
  });

  test("neither", async () => {
    expect(await failure(findComponent(memorySource({ "vae/config.json": CONFIG }), "unet"))).toBe(
      "model: has neither unet/config.json nor config.json or config.yaml",
    );
  });

  test("a broken file is named, not passed over", async () => {
    const source = memorySource({ "scheduler/scheduler_config.json": "{,}", "model_index.json": "7" });
    expect(await failure(readSchedulerConfig(source))).toContain(
      "model/scheduler/scheduler_config.json: is not valid JSON",
    );
    expect(await failure(readModelIndex(source))).toBe("model/model_index.json: must hold a JSON object");
  });

  test("the shipped models", async () => {
    for (const name of ["pixel-avatars-16", "crawl-tiles-32"]) {
      const source = folderSource(new URL(`../../weights/${name}`, import.meta.url).pathname);
      expect(await findComponent(source, "unet")).toBe("unet");
      expect((await readSchedulerConfig(source))?.config).toMatchObject({ _class_name: "DDIMScheduler" });
      const index = (await readModelIndex(source))!;
      expect(index.null_class).toBe(Object.keys(index.id2label as object).length);
    }
  });
});
