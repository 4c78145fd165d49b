/** The command line, as far as it goes without a GPU: words of its own and others, in any order. */
import { copyFileSync, existsSync, rmSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { DeviceError, FileError, UsageError } from "../../../src/runtime/errors.ts";
import { ddim } from "../../support/cli.ts";
import { hostileText, INVISIBLE } from "../../support/hostile.ts";
import { ownFolder } from "../disk.ts";
import { Finding, type Target } from "../harness.ts";
import { decode, encode } from "../mutate.ts";

const COMMANDS = [
  ...["sample", "inspect", "schedule", "edit", "noise", "interpolate", "fuse", "invert", "eval", "upscale", "encode"],
  ...["decode", "forward", "convert", "tune"],
];
/** Those that write without a GPU: where to is always said. */
const WRITES = ["noise", "convert"];
const FLAGS = [
  ...["-m", "-S", "-n", "-b", "-c", "-o", "-q", "-v", "--json", "--seed", "--eta", "--sampler", "--spacing", "--clip"],
  ...["--timesteps", "--timestep-base", "--start", "--stop", "--sigma", "--temperature", "--threshold", "--compat"],
  ...[
    "--guidance",
    "--guidance-interval",
    "--guidance-rescale",
    "--negative-class",
    "--noise",
    "--context",
    "--concat",
  ],
  ...["--resume", "--rng", "--scale", "--sweep", "--grid", "--memory", "--dtype", "--precision", "--non-finite"],
  ...["--ignore-unknown", "--config", "--weights", "--variant", "--random-weights", "--max-pixels", "--fit", "--help"],
  ...["--no-clip", "--no-rederive", "--antithetic", "--strength", "--mask", "--repaint", "--seeds", "--at", "--mix"],
];
const folder = ownFolder();
copyFileSync("weights/pixel-avatars-16.png", `${folder}/a.png`);
writeFileSync(`${folder}/empty.safetensors`, "");
const FILES = ["a.png", "empty.safetensors", "none.safetensors", ".", "out.png", "out/%03d.png"].map(
  (n) => `${folder}/${n}`,
);
const VALUES = [
  ...[
    "0",
    "1",
    "2",
    "10",
    "1000",
    "1001",
    "-1",
    "0.5",
    "1e9",
    "1e400",
    "NaN",
    "Infinity",
    "18446744073709551616",
    "7,5,3",
  ],
  ...[
    "1,2",
    ",",
    "",
    " ",
    "1..5",
    "0x10",
    "ddim",
    "ddpm",
    "dpmpp2m",
    "trailing",
    "linspace",
    "ddim25",
    "quad",
    "posterior",
  ],
  ...[
    "hat",
    "learned_range",
    "diffusers",
    "openai",
    "torch-batch",
    "auto",
    "2G",
    "999999999999T",
    "warn",
    "error",
    "f16",
  ],
  ...[
    "pixel-avatars-16",
    "crawl-tiles-32",
    "test/golden/models/sd1",
    "hat,0",
    "all",
    "steps=2,3",
    "eta=0,1",
    "--",
    "crop",
  ],
];

const word = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom(...VALUES) },
  { weight: 2, arbitrary: fc.constantFrom(...FILES) },
  { weight: 1, arbitrary: hostileText },
);
const flag = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(fc.constantFrom(...FLAGS), word) },
  { weight: 1, arbitrary: fc.tuple(fc.constantFrom(...FLAGS)) },
  { weight: 1, arbitrary: fc.tuple(word) },
);
const line = fc
  .tuple(
    fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...COMMANDS) }, { weight: 1, arbitrary: word }),
    fc.array(flag, { maxLength: 5 }),
  )
  .map(([command, flags]) => [
    command,
    ...flags.flat(),
    ...(WRITES.includes(command) ? ["-o", FILES[4] as string] : []),
  ]);

/** No device: whatever gets so far has been taken. */
const world = {
  openDevice: async () => {
    throw new DeviceError("unsupported", "no adapter");
  },
  env: { XDG_CACHE_HOME: folder },
};

const seeds = [
  ["schedule", "-S", "4"],
  ["inspect", `${folder}/a.png`],
  ["inspect", "pixel-avatars-16", "--json"],
  ["--help"],
];

export const cli: Target = {
  name: "cli",
  seeds: seeds.map((words) => encode(JSON.stringify(words))),
  input: line.map((words) => encode(JSON.stringify(words))),
  async read(bytes) {
    const words = (JSON.parse(decode(bytes)) as unknown[]).map(String);
    const output = FILES[4] as string;
    rmSync(output, { force: true });
    const { code, stdout, stderr } = await ddim(words, world);
    for (const text of [stdout, stderr])
      if (INVISIBLE.test(text.replaceAll("\n", "")))
        throw new Finding("unprintable", JSON.stringify(text.slice(0, 500)));
    if (/^ddim: internal/m.test(stderr)) throw new Finding(`internal ${stderr.slice(0, 60)}`, stderr.slice(0, 500));
    if (code === 0) return stdout;
    if (!/^ddim: /m.test(stderr) || ![1, 2].includes(code)) throw new Finding("no sentence", `${code}: ${stderr}`);
    if (existsSync(output)) throw new Finding("written", "a refused command has written its output");
    // With -v the stack follows.
    const sentence = stderr.split("\n").find((text) => text.startsWith("ddim: ")) as string;
    throw code === 2 ? new UsageError("words", sentence) : new FileError("ddim", sentence);
  },
};
