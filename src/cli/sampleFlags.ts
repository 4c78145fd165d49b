/** The flags of `ddim sample`. */
import { type Command, Option } from "commander";
import {
  addCommonFlags,
  addSamplerFlags,
  addTraceFlag,
  type CommonFlags,
  number,
  type SamplerFlags,
  seed,
  type TraceFlag,
  whole,
} from "./flags.ts";

export interface SampleFlags extends CommonFlags, SamplerFlags, TraceFlag {
  count?: number;
  batch?: number;
  seed?: bigint;
  class?: string;
  guidance: number;
  noise?: string;
  rng: "philox" | "torch";
  output: string;
  grid?: true;
  scale?: number;
  saveSteps?: string;
  overwrite?: true;
}

export function addSampleFlags(command: Command): Command {
  command
    .option("-n, --count <n>", "number of images (default: 1)", whole(1))
    .option("-o, --output <path>", "x.png, x-%03d.png (a file per image), a folder, or x.safetensors", "out.png")
    .option("--overwrite", "replace what is there")
    .option("--seed <n>", "0 to 2^64-1; random, and printed, when absent", seed)
    .option("-c, --class <list>", "class ids or names, given to the images in turn (default: all classes)")
    .option("--guidance <w>", "classifier-free guidance: e_u + w (e_c - e_u)", number, 1);
  addSamplerFlags(command)
    .option("--noise <file>", "safetensors with the starting noise x_T, N x C x H x W; sets the count")
    .addOption(new Option("--rng <name>", "starting noise of seed").choices(["philox", "torch"]).default("philox"))
    .option("-b, --batch <n>", "images at a time (default: what fits); never changes an image", whole(1))
    .option("--grid", "one picture with a row per class")
    .option("--scale <k>", "enlarge PNGs; small images become about 128 wide by default", whole(1))
    .option("--save-steps <dir>", "write the estimate of x0 after every step into a folder");
  addTraceFlag(command);
  return addCommonFlags(command, ["model", "dtype", "device", "quiet", "verbose", "json"]);
}
