/** Configurations as programs write them, and texts that only look like one. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseYaml } from "../../src/node/model.ts";
import { openCheckpoint } from "../../src/weights/checkpoint.ts";
import { readModelIndex, readSchedulerConfig } from "../../src/weights/components.ts";
import { readConfig } from "../../src/weights/config.ts";
import { failure, memorySource } from "./memory-source.ts";

const yaml = (text: string) => readConfig(memorySource({ "config.yaml": text }), "config.yaml", { parseYaml });
const refused = (text: string) => failure(yaml(text));

describe("numbers that are not finite", () => {
  const json = '{"a": -Infinity, "b": [NaN, Infinity]}';
  const read = { a: -Infinity, b: [Number.NaN, Infinity] };

  test("are read in every configuration", async () => {
    const files = ["config.json", "unet/config.json", "vae/config.json"];
    for (const file of files) expect(await readConfig(memorySource({ [file]: json }), file)).toEqual(read);
    for (const file of ["scheduler_config.json", "scheduler/scheduler_config.json"])
      expect((await readSchedulerConfig(memorySource({ [file]: json })))?.config).toEqual(read);
    expect(await readModelIndex(memorySource({ "model_index.json": json }))).toEqual(read);
    expect(await yaml("a: -.inf\nb: [.nan, .inf]")).toEqual(read);
  });

  test("are not JSON in the index of shards", async () => {
    const index = '{"metadata": {"total_size": NaN}, "weight_map": {}}';
    const source = memorySource({ "model.safetensors.index.json": index });
    expect(await failure(openCheckpoint(source, ""))).toContain("is not valid JSON (line 1, column 29");
  });
});

describe("YAML", () => {
  test("with aliases reads as what they stand for", async () => {
    expect(await yaml("a: &a {x: [1]}\nb: [*a, *a]\nc: *a")).toEqual({
      a: { x: [1] },
      b: [{ x: [1] }, { x: [1] }],
      c: { x: [1] },
    });
  });

  test("whose anchors close a circle", async () => {
    for (const text of ["a: &a [*a]", "a: &a\n  b: *a", "&r\nx: {y: [1, {z: *r}]}", "a: &a [&b [*a], *b]"])
      expect(await refused(text)).toBe("model/config.yaml: an alias stands inside of what it repeats");
  });

  test("whose aliases multiply", async () => {
    const list = (level: number) => `a${level}: &a${level} [${Array.from({ length: 9 }, () => `*a${level - 1}`)}]`;
    const text = ["a0: &a0 [x, x]", ...Array.from({ length: 11 }, (_, i) => list(i + 1))].join("\n");
    expect(await refused(text)).toBe("model/config.yaml: its aliases make more than 100000 values of it");
    const many = `a: &a 1\nb: [${Array.from({ length: 101 }, () => "*a")}]`;
    expect(await refused(many)).toMatch(
      /^model\/config\.yaml: is not YAML: line 2, column \d+: more than 100 aliases$/,
    );
  });

  test("that is too long or too deep", async () => {
    expect(await refused(`a: ${" ".repeat(65536)}1`)).toContain("is over 64 KiB, too long for YAML");
    expect(await refused(`a: ${"[".repeat(200)}${"]".repeat(200)}`)).toContain("is nested deeper than 127 levels");
    expect(await refused("a: [".repeat(16_000))).toBe("model/config.yaml: is not YAML: it is nested too deep");
  });

  test("with a mistake, and where it is", async () => {
    expect(await refused("a: 1\nb: [1, 2\n")).toMatch(/^model\/config\.yaml: is not YAML: line 3, column 1: /);
    expect(await refused("a: 1\nb: 2\na: 3")).toBe(
      'model/config.yaml: is not YAML: line 3, column 1: the key "a" appears twice',
    );
    expect(await refused("a: *b")).toContain("is not YAML");
    expect(await refused("- 1")).toBe("model/config.yaml: must hold keys and values");
  });

  test("of any kind is read or refused in one sentence, the same twice", async () => {
    const piece = fc.constantFrom(
      ...["a: ", "b: ", "- ", "&a ", "*a ", "&b ", "*b ", "[", "]", "{", "}", ", ", "\n", "\n  ", "<<: ", "1", ".inf"],
      ...["? ", "!!set ", "!!python/tuple ", "%YAML 1.1\n---\n", "'", '"', "|\n", "# ", "\t", "~", "\u0000", "..."],
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 20 }), async (pieces) => {
        const outcome = () =>
          yaml(pieces.join("")).then(
            (value) => JSON.stringify(value),
            (error: Error) => {
              expect(error.name).toBe("FileError");
              expect(error.message).toMatch(/^model\/config\.yaml: [^\n]+$/);
              return error.message;
            },
          );
        expect(await outcome()).toBe(await outcome());
      }),
      { numRuns: 300 },
    );
  });
});
