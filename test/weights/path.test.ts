import { describe, expect, test } from "vitest";
import { folderSource } from "../../src/node/folder.ts";
import { fileListSource } from "../../src/weights/files.ts";
import { objectSource } from "../../src/weights/object.ts";
import { checkPath, joinPath, label } from "../../src/weights/path.ts";
import { urlSource } from "../../src/weights/url.ts";
import { failure } from "./memory-source.ts";

const ESCAPES = [
  "../secret",
  "unet/../../secret",
  "unet/..",
  "..",
  ".",
  "./config.json",
  "/etc/passwd",
  "//host/share",
  "unet//config.json",
  "unet/",
  "",
  "..\\secret",
  "unet\\..\\..\\secret",
  "C:/secret",
  "a/C:",
  "a/C:secret",
  "C:secret",
  "file:///etc/passwd",
  "https://example.com/x",
  "data:,x",
  "a\0b",
  "a\nb",
];

describe("checkPath", () => {
  test.each(ESCAPES)("refuses %j", (path) => {
    expect(() => checkPath({ name: "model" }, path)).toThrow(
      `model: the file name ${JSON.stringify(path)} does not stay inside the model's folder`,
    );
  });

  test.each(["config.json", "unet/config.json", "a..b/..c", "%2e%2e/x", "model name (1).safetensors", "ä/€"])(
    "takes %j",
    (path) => expect(checkPath({ name: "model" }, path)).toBe(path),
  );
});

test("every source checks, in every method, before it touches anything", async () => {
  const touched: string[] = [];
  const touch = <T>(path: string, answer: T) => {
    touched.push(path);
    return Promise.resolve(answer);
  };
  const sources = [
    folderSource(new URL("../golden", import.meta.url).pathname),
    urlSource("http://localhost/model", { fetch: (url) => touch(url, new Response("")) }),
    fileListSource([new File(["x"], "x")]),
    objectSource({ name: "mine", read: (path) => touch(path, new Uint8Array(1)) }),
  ];
  for (const source of sources)
    for (const path of ESCAPES) {
      const attempts = [
        () => source.read(path),
        () => source.read(path, { start: 0, end: 1 }),
        () => source.size(path),
        () => source.exists(path),
        async () => source.readInto?.(path, 0, new Uint8Array(1)) ?? source.read(path),
      ];
      for (const attempt of attempts) expect(await failure(attempt())).toContain("does not stay inside");
    }
  expect(touched).toEqual([]);
});

test("joinPath and label", () => {
  expect(joinPath("", "a")).toBe("a");
  expect(joinPath("unet", "a")).toBe("unet/a");
  expect(label({ name: "weights/avatars/" }, "unet/config.json")).toBe("weights/avatars/unet/config.json");
  expect(label({ name: "" }, "config.json")).toBe("config.json");
  expect(label({ name: "weights" }, "")).toBe("weights");
});
