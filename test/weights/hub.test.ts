/** What a text or an address means as a model of the Hugging Face Hub. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fileAddress, hubPage, parseHubId } from "../../src/weights/hub.ts";
import { toSource } from "../../src/weights/to-source.ts";

describe("parseHubId", () => {
  test.each([
    ["google/ddpm-cifar10-32", "google/ddpm-cifar10-32", "main"],
    ["CompVis/ldm_x.2@fp16", "CompVis/ldm_x.2", "fp16"],
    ["a/b@refs/pr/12", "a/b", "refs/pr/12"],
    [`a/b@${"0f".repeat(20)}`, "a/b", "0f".repeat(20)],
    ["a/b@v1.0@x", "a/b", "v1.0@x"],
  ])("reads %s", (text, name, revision) => expect(parseHubId(text)).toEqual({ name, revision }));

  test.each([
    ["a"],
    ["a/b/c"],
    ["/a/b"],
    ["./a/b"],
    ["a/b/"],
    ["a\\b"],
    ["../b"],
    ["a/.."],
    ["a/b--c"],
    ["a/b.git"],
    ["a/-b"],
    ["a/b@"],
    ["a/b@../x"],
    ["a/b@x//y"],
    ["a/b@.x"],
    ["a/b@x y"],
    ["a/b@x\u202ey"],
    [`a/${"b".repeat(97)}`],
    ["~/a"],
    ["a/b?x"],
    [""],
  ])("is no id: %j", (text) => expect(parseHubId(text)).toBeUndefined());

  test("no text gives a name or revision that leads out of a folder", () => {
    const part = fc.constantFrom("a", "..", ".", "/", "\\", "@", "-", "b.c", "\u0000", " ", "refs");
    fc.assert(
      fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
        const id = parseHubId(parts.join(""));
        for (const segment of [...(id?.name.split("/") ?? []), ...(id?.revision.split("/") ?? [])])
          expect(segment).toMatch(/^(?!\.)[^\\\s\0]+$/);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("addresses of the Hub", () => {
  test.each([
    ["https://huggingface.co/a/b", { name: "a/b", revision: "main" }],
    ["https://huggingface.co/a/b/", { name: "a/b", revision: "main" }],
    ["https://hf.co/a/b/tree/v1?x=y", { name: "a/b", revision: "v1" }],
    ["https://huggingface.co/a/b/tree/refs%2Fpr%2F1", { name: "a/b", revision: "refs/pr/1" }],
    ["https://huggingface.co/a/b/tree/main/unet", undefined],
    ["https://huggingface.co/a/b/resolve/main", undefined],
    ["https://huggingface.co/a/b/tree/%E0", { name: "a/b", revision: "%E0" }],
    ["https://example.com/a/b", undefined],
    ["https://huggingface.co.example.com/a/b", undefined],
  ])("%s", (url, id) => expect(hubPage(new URL(url))).toEqual(id));

  test.each([
    ["https://huggingface.co/a/b", "https://huggingface.co/a/b/resolve/main"],
    ["https://huggingface.co/a/b/tree/v1/", "https://huggingface.co/a/b/resolve/v1"],
    ["https://huggingface.co/a/b/tree/main/unet", "https://huggingface.co/a/b/resolve/main/unet"],
    ["https://huggingface.co/a/b/blob/main/x.safetensors?q", "https://huggingface.co/a/b/resolve/main/x.safetensors?q"],
    ["https://huggingface.co/a/b/resolve/main/x.ckpt", "https://huggingface.co/a/b/resolve/main/x.ckpt"],
    ["https://example.com/a/b", "https://example.com/a/b"],
  ])("the files that %s shows are at %s", (page, files) => expect(fileAddress(new URL(page)).href).toBe(files));

  test("are read as such, also in pages", async () => {
    const asked: string[] = [];
    const fetch = async (url: string) => {
      asked.push(url);
      return new Response("no", { status: 404 });
    };
    expect(await toSource("https://huggingface.co/a/b", { fetch }).exists("model_index.json")).toBe(false);
    expect(asked).toEqual(["https://huggingface.co/a/b/resolve/main/model_index.json"]);
  });
});

test("the address of a configuration is that of its folder", () => {
  for (const file of ["", "/", "/model_index.json", "/config.json", "/config.yaml?token=x"])
    expect(toSource(`https://example.com/m${file}`).name).toBe("https://example.com/m");
  expect(toSource("https://example.com/m/x.safetensors").weights).toBe("x.safetensors");
  expect(toSource("https://example.com/m/%E0.ckpt").weights).toBe("%E0.ckpt");
});
