/** Every reader and every object of options. */
import type { Target } from "../harness.ts";
import { packed, tuning } from "./caches.ts";
import { cli } from "./cli.ts";
import { configs } from "./configs.ts";
import { options } from "./options.ts";
import { pickle } from "./pickles.ts";
import { jpeg, webp } from "./pictures.ts";
import { png, pngText } from "./png.ts";
import { safetensors, shardIndex } from "./safetensors.ts";
import { resume, stateFile } from "./saved.ts";
import { tensors } from "./tensors.ts";

export const targets: readonly Target[] = [
  ...[safetensors, shardIndex, pickle, ...configs, png, pngText, jpeg, webp],
  ...[stateFile, resume, tuning, packed, tensors, ...options, cli],
];
