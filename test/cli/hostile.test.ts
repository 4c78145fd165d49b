/** Nothing that a file says, its name included, reaches the terminal as anything but text, nor a shell as a command. */
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { plainCommand } from "../../src/cli/plainCommand.ts";
import { createProgram } from "../../src/cli/program.ts";
import { quoted, wordsOf } from "../../src/cli/shell.ts";
import { encodePng } from "../../src/image/png.ts";
import { DeviceError } from "../../src/runtime/errors.ts";
import { ddim, type Outcome, scratchFolder, type World } from "../support/cli.ts";
import { hostileText, INVISIBLE } from "../support/hostile.ts";
import { rawSafetensors } from "../weights/memory-source.ts";

const scratch = scratchFolder();
const world: World = {
  openDevice: async () => {
    throw new DeviceError("unsupported", "no adapter");
  },
};
const program = createProgram({ openDevice: world.openDevice as never } as never, () => {});

/** Both streams hold printable lines and nothing else. */
function expectPrintable({ stdout, stderr, code }: Outcome): void {
  for (const text of [stdout, stderr]) expect(text.replaceAll("\n", "")).not.toMatch(INVISIBLE);
  expect([0, 1, 2]).toContain(code);
}

async function inspected(path: string, ...flags: string[]): Promise<Outcome> {
  const outcome = await ddim(["inspect", path, ...flags], world);
  expectPrintable(outcome);
  return outcome;
}

const pixel = { width: 1, height: 1, data: new Uint8ClampedArray(4) };
/** Without what UTF-8 and texts of pictures cannot hold. */
const storable = (text: string) => text.replace(/[\0\p{Cs}]/gu, "");
const written = hostileText.map(storable);
const recorded = {
  ...{ model: "pixel-avatars-16", seed: "1", count: 1, steps: 5, eta: 0, sampler: "ddim", spacing: "leading" },
  ...{ compat: "none", guidance: 1, clip: true, dtype: "f32", rng: "philox", size: { width: 16, height: 16 } },
  ...{ adapter: "x", command: "ddim sample -n 1 -o out.png", version: "0.1.0" },
};
const textFields = ["model", "sampler", "spacing", "compat", "dtype", "rng", "adapter", "command", "version"] as const;

/** The word that begins a line, as in `  command: …`. */
const commandsIn = (stdout: string) => [...stdout.matchAll(/^ {2}command: (.*)$/gm)].map(([, command]) => command);

test("texts of pictures, in every mode: printable, one line each, and the same values as JSON", async () => {
  const file = join(scratch, "hostile.png");
  const property = fc.asyncProperty(
    fc.dictionary(fc.stringMatching(/^[!-~]{1,20}$/), written, { maxKeys: 3, noNullPrototype: true }),
    fc.option(fc.record(Object.fromEntries(textFields.map((key) => [key, hostileText])), { requiredKeys: [] })),
    fc.option(written),
    async (texts, fields, infotext) => {
      const text = {
        ...texts,
        ...(fields && { "ddim-webgpu": JSON.stringify({ ...recorded, ...fields }) }),
        ...(infotext !== null && { parameters: `a prompt\nSteps: 20, Command: ${infotext}, Model: ${infotext}` }),
      };
      fc.pre(Object.keys(text).every((key) => key !== "__proto__"));
      writeFileSync(file, await encodePng(pixel, text));
      const { stdout, code } = await inspected(file);
      expect(code).toBe(0);
      for (const line of stdout.trimEnd().split("\n").slice(1)) expect(line).toMatch(/^ {2}/);
      for (const command of commandsIn(stdout)) expect(plainCommand(program, command as string)).toBe(command);
      const json = await inspected(file, "--json");
      expect(JSON.parse(json.stdout).text).toEqual(text);
      await inspected(file, "-v", "-q");
    },
  );
  await fc.assert(property, { numRuns: 20 });
});

test("names of tensors and metadata of safetensors", async () => {
  const file = join(scratch, "hostile.safetensors");
  const property = fc.asyncProperty(
    fc.uniqueArray(hostileText, { maxLength: 4 }),
    fc.dictionary(hostileText, hostileText, { maxKeys: 3, noNullPrototype: true }),
    async (names, __metadata__) => {
      const tensors = names.map((name, i) => [name, { dtype: "F32", shape: [1], data_offsets: [4 * i, 4 * i + 4] }]);
      writeFileSync(file, rawSafetensors({ __metadata__, ...Object.fromEntries(tensors) }, 4 * names.length));
      const { stdout, code } = await inspected(file);
      await inspected(file, "-v");
      const json = await inspected(file, "--json");
      if (code !== 0) return;
      expect(stdout.trimEnd().split("\n")).toHaveLength(2 + names.length + Object.keys(__metadata__).length);
      expect(JSON.parse(json.stdout).metadata).toEqual(__metadata__);
      // As the inputs of a network, and as a state to go on from.
      expectPrintable(await ddim(["forward", "--input", file, "-o", join(scratch, "never"), "-v"], world));
      expectPrintable(await ddim(["sample", "--resume", file, "-o", join(scratch, "never.png")], world));
    },
  );
  await fc.assert(property, { numRuns: 12 });
});

test("labels, keys, values, class names and tensors of models", async () => {
  const model = join(scratch, "model");
  cpSync("weights/pixel-avatars-16", model, { recursive: true });
  const files = ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"] as const;
  const weights = "unet/diffusion_pytorch_model.safetensors";
  const own = Object.fromEntries([...files, weights].map((name) => [name, readFileSync(join(model, name))]));
  const property = fc.asyncProperty(hostileText, hostileText, fc.nat(9), async (key, value, kind) => {
    const change = (name: (typeof files)[number], with_: object) =>
      writeFileSync(join(model, name), JSON.stringify({ ...JSON.parse(String(own[name])), ...with_ }));
    const changes = [
      () => change("model_index.json", { id2label: { 0: value, 1: key, 2: "hat", 3: "x" } }),
      () => change("unet/config.json", { [key]: value }),
      () => change("unet/config.json", { act_fn: value }),
      () => change("unet/config.json", { down_block_types: [value, key] }),
      () => change("scheduler/scheduler_config.json", { _class_name: value }),
      () => change("scheduler/scheduler_config.json", { [key]: value }),
      () => change("scheduler/scheduler_config.json", { beta_schedule: value, timesteps: key }),
      () => writeFileSync(join(model, "unet/config.json"), value),
      () => change("model_index.json", { null_class: value }),
      () => {
        const tensor = { dtype: "F32", shape: [0], data_offsets: [0, 0] };
        writeFileSync(join(model, weights), rawSafetensors({ [key]: tensor, [value]: { ...tensor, dtype: key } }));
      },
    ];
    (changes[kind] as () => void)();
    try {
      for (const flags of [[], ["--json"], ["-v"]]) await inspected(model, ...flags);
      expectPrintable(await ddim(["schedule", "-m", model, "-S", "2", "-v"], world));
      expectPrintable(await ddim(["sample", "-m", model, "-c", key, "-o", join(scratch, "never.png")], world));
    } finally {
      for (const [name, data] of Object.entries(own)) writeFileSync(join(model, name), data);
    }
  });
  await fc.assert(property, { numRuns: 20 });
});

test("names of files and folders, and words that were typed", async () => {
  const property = fc.asyncProperty(hostileText, async (text) => {
    const name = storable(text).replaceAll("/", "").slice(0, 40);
    fc.pre(name !== "" && name !== "." && name !== "..");
    const folder = join(scratch, `d${name}`);
    mkdirSync(folder, { recursive: true });
    const png = join(folder, `${name}.png`);
    writeFileSync(png, await encodePng(pixel));
    for (const flags of [[], ["--json"], ["-v"]]) await inspected(png, ...flags);
    for (const words of [
      [text],
      ["inspect", folder],
      ["inspect", `${folder}/${name}.safetensors`],
      ["inspect", "-m", folder, text],
      ["sample", text],
      ["sample", `--${text}`],
      ["sample", "-n", text],
      ["sample", "--sampler", text],
      ["sample", "-c", text, "-o", join(folder, "x.png")],
      ["sample", "--noise", png],
      ["schedule", "--spacing", text],
      ["schedule", "-m", text, "-v"],
      ["noise", png, "-t", text],
      ["bench", `x${text}`],
      [text, "--help"],
    ])
      expectPrintable(await ddim(words, world));
  });
  await fc.assert(property, { numRuns: 12 });
});

test("a line that is no plain command of ours is not called one", () => {
  for (const line of [
    ...["ddim sample -n 1; echo unsafe #", "ddim sample -o a.png\n\necho unsafe", "ddim sample -o $(id).png"],
    ...["ddim sample -o `id`", "ddim sample > x", "ddim sample --frobnicate", "ddim sample -n 0", "ddim", "rm -rf x"],
    ...["ddim paint", "ddim bench run -o x", "ddim tune --export x", "ddim sample extra", "ddim edit", " ddim sample"],
    ...["ddim sample --", "ddim sample -o 'a", "ddim sample -n", "ddim sample ~/x", "ddim sample --sampler evil"],
    ...["ddim sample -o ..", "ddim sample -o x/..", "ddim sample -o ../../", "ddim sample -o /", "ddim sample -o ''"],
    ...["ddim sample -o =ls", "ddim sample\t-n 1", "ddim sample -o 'a\x1b.png'", "ddim sample # image 2; id"],
  ])
    expect(plainCommand(program, line)).toBeUndefined();
});

test("of ours nothing stays that writes elsewhere or over something, and values that look like flags stay values", () => {
  const kept: [string, string][] = [
    ["ddim sample -n 4 -o 'my faces/x y.png' # image 2", "ddim sample -n 4 -o 'x y.png' # image 2"],
    ["ddim sample -o /etc/passwd.png --overwrite", "ddim sample -o passwd.png"],
    ["ddim sample --save-state ../state --cache /tmp/x --trace t.json -n 1", "ddim sample -n 1"],
    ["ddim sample '--overwrite' -n 1", "ddim sample -n 1"],
    ["ddim edit a.png --mask b.png -S 5 -v", "ddim edit a.png --mask b.png -S 5 -v"],
    ["ddim sample --model=--overwrite", "ddim sample --model=--overwrite"],
    ["ddim sample --spacing --overwrite", "ddim sample --spacing=--overwrite"],
    ["ddim sample -m -x -S10", "ddim sample -m-x -S 10"],
    ["ddim sample -c 'a'\\''b;c'", "ddim sample -c 'a'\\''b;c'"],
  ];
  for (const [line, command] of kept) expect(plainCommand(program, line)).toBe(command);
});

test("a shell reads what is printed as the words that were meant, whatever they are", () => {
  const words = fc.sample(hostileText, 400).map(storable);
  for (const word of words) expect(wordsOf(quoted(word))).toEqual([word]);
  const line = `printf '%s\\0' ${words.map(quoted).join(" ")}`;
  const read = execFileSync("/bin/sh", ["-c", line], { encoding: "utf8" });
  expect(read.split("\0").slice(0, -1)).toEqual(words);
});

test("whatever a picture's line is, what is printed of it runs ddim once, with flags of that command", () => {
  const line = fc.array(
    fc.oneof(
      fc.constantFrom("ddim", "sample", "edit", "-n", "-o", "--overwrite", "--spacing", "-m", "1", "-c", "a.png", "--"),
      hostileText,
      hostileText.map(quoted),
    ),
    { maxLength: 8 },
  );
  fc.assert(
    fc.property(line, fc.boolean(), (parts, ours) => {
      const text = [...(ours ? ["ddim", "sample"] : []), ...parts].join(" ");
      const command = plainCommand(program, text);
      if (command === undefined) return;
      expect(command).not.toMatch(INVISIBLE);
      const [name, own, ...rest] = wordsOf(command.replace(/ # image \d+$/, "")) as string[];
      expect(name).toBe("ddim");
      const { options } = program.commands.find((each) => each.name() === own) as (typeof program.commands)[number];
      const flags = rest.filter((word, i) => word.startsWith("-") && !/^-[mnoc]$|^--spacing$/.test(rest[i - 1] ?? ""));
      for (const flag of flags) {
        const known = options.find(({ long, short }) => flag.split("=")[0] === long || flag.slice(0, 2) === short);
        expect(known?.attributeName()).not.toBe("overwrite");
        expect(known).toBeDefined();
      }
      expect(plainCommand(program, command)).toBe(command);
    }),
    { numRuns: 2000 },
  );
});
