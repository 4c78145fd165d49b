/** The flags of `ddim sample`. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { ImageSize } from "../network/configReader.ts";
import { type Rng, rngs } from "../sampler/seed.ts";
import { byteCount } from "./autoencoder.ts";
import {
  ALL_FLAGS,
  addCommonFlags,
  addSamplerFlags,
  addTraceFlag,
  type Batch,
  batch,
  type CommonFlags,
  number,
  numberOrList,
  numbers,
  type SamplerFlags,
  seed,
  type TraceFlag,
  whole,
} from "./flags.ts";

export interface SampleFlags extends CommonFlags, SamplerFlags, TraceFlag {
  count?: number;
  firstImage?: number;
  size?: ImageSize;
  batch?: Batch;
  seed?: bigint;
  class?: string;
  guidance: number | number[];
  guidanceInterval?: [number, number];
  guidanceRescale?: number;
  negativeClass?: string;
  antithetic?: true;
  sweep?: true;
  saveState?: string;
  resume?: string;
  noise?: string;
  context?: string;
  concat?: string;
  memory?: number;
  rng: Rng;
  output: string;
  grid?: true;
  scale?: number;
  like?: string;
  saveSteps?: string;
  overwrite?: true;
}

function pair(text: string): [number, number] {
  const [a = Number.NaN, b = Number.NaN, ...more] = numbers(text);
  if (Number.isNaN(b) || more.length) throw new InvalidArgumentError("expected two timesteps");
  return [a, b];
}

function size(text: string): ImageSize {
  const [, width, height] = /^(\d{1,6})x(\d{1,6})$/i.exec(text) ?? [];
  if (!(Number(width) > 0 && Number(height) > 0))
    throw new InvalidArgumentError("expected width x height in pixels, such as 96x64");
  return { width: Number(width), height: Number(height) };
}

export function addSampleFlags(command: Command): Command {
  command
    .option("-n, --count <n>", "number of images (default: 1)", whole(1))
    .option("--first-image <n>", "begin at this image of the seed: -n 4 --first-image 8 makes images 8 to 11", whole(0))
    .option("--size <WxH>", "width and height of the images in pixels (default: the model's)", size)
    .option("-o, --output <path>", "x.png, x.safetensors; x-%03d.png or a folder, written batch by batch", "out.png")
    .option("--overwrite", "replace what is there")
    .option("--seed <n>", "0 to 2^64-1; random, and printed, when absent", seed)
    .option("-c, --class <list>", "class ids or names, given to the images in turn (default: all classes)")
    .option("--guidance <w>", "classifier-free guidance: e_u + w (e_c - e_u); or a list, in turn", numberOrList, 1)
    .option("--guidance-interval <a,b>", "guidance acts where a <= t <= b (default: everywhere)", pair)
    .option("--guidance-rescale <phi>", "0 to 1: keep the standard deviation of e_c (default: 0)", number)
    .option("--negative-class <id>", "class, id or name, to lead away from (default: the null class)");
  addSamplerFlags(command)
    .option("--noise <file>", "safetensors with the starting noise x_T, N x C x H x W; sets the count")
    .option(
      "--context <file>",
      "safetensors with encoder_hidden_states, 1 or N x L x D, and for guidance `negative`; see docs/latents.md",
    )
    .option("--concat <file>", "safetensors with what the network reads beside its state, 1 or N x C x H x W")
    .addOption(new Option("--rng <name>", "whose noise a seed means, see docs/rng.md").choices(rngs).default("philox"))
    .option("--antithetic", "images 2j and 2j + 1 get noise of opposite signs")
    .option("--sweep", "one picture of one x_T under all of --eta a,b,c, -S a,b,c, --guidance a,b,c and -c a,b,c")
    .option("--save-state <file>", "keep the run in a file: every second, and at Ctrl-C, SIGTERM and SIGHUP")
    .option("--resume <file>", "go on from such a file; other flags as they were, pictures that are there stay")
    .option("-b, --batch <n>", "images at a time, or auto for what fits (default: auto); never changes an image", batch)
    .option(
      "--memory <size>",
      "most bytes beside the weights, such as 2G: smaller batches, decoding in tiles",
      byteCount,
    )
    .option("--grid", "one picture with a line per class")
    .option("--scale <k>", "enlarge PNGs; by default one picture of small images is, to about 128 each", whole(1))
    .option(
      "--like <picture>",
      "what made a PNG of ddim's, for every flag that is not given: makes it again, or others like it",
    )
    .option("--save-steps <dir>", "write the estimate of x0 after every step into a folder");
  addTraceFlag(command);
  return addCommonFlags(command, ALL_FLAGS);
}
