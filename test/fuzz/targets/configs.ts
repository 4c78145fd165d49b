/** Configurations of models: with the weights that lie beside them, and with made-up ones of any size. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { openAutoencoder, openModel, openScheduler, parseYaml } from "../../../src/node/model.ts";
import { makeSchedule } from "../../../src/sampler/schedule.ts";
import { readConfig } from "../../../src/weights/config.ts";
import type { ModelSource } from "../../../src/weights/source.ts";
import { readFolder } from "../../support/models.ts";
import { memorySource } from "../../weights/memory-source.ts";
import { every, type Target } from "../harness.ts";
import { encode, mutatedBytes, mutatedJson } from "../mutate.ts";

type Read = (source: ModelSource) => Promise<unknown>;

const model: Read = async (source) => {
  const describe = async (randomWeights?: bigint) => {
    const { config, scheduler, labels, nullClass, firstStage, warnings } = await openModel(source, { randomWeights });
    return { config, scheduler, labels, nullClass, spec: firstStage?.spec, warnings };
  };
  return every([() => describe(), () => describe(1n)]);
};
const autoencoder: Read = async (source) => {
  const { spec, decoderTensors, warnings } = await openAutoencoder(source);
  return { spec, decoderTensors, warnings };
};
const scheduler: Read = async (source) => {
  const config = await openScheduler(source);
  return { config, schedule: config && makeSchedule(config) };
};

/** One file of a model's folder, which is read from memory with another content each time. */
function ofModel(name: string, folders: readonly string[], path: string, read: Read): Target {
  const models = folders.map(readFolder);
  const texts = models.map((files) => files[path] as Uint8Array);
  const values = models.map((files) =>
    path.endsWith("json") ? JSON.parse(Buffer.from(files[path]!).toString()) : null,
  );
  return {
    name,
    seeds: texts,
    input: path.endsWith("json") ? mutatedJson(values) : mutatedText(texts),
    read: async (bytes) => {
      // The weights that fit most are those of the seed with the same beginning.
      const at = Math.max(
        0,
        texts.findIndex((text) => Buffer.compare(text.subarray(0, 40), bytes.subarray(0, 40)) === 0),
      );
      return read(memorySource({ ...models[at], [path]: bytes }));
    },
  };
}

const PIECES = [
  ...["a: ", "- ", "&a ", "*a ", "[", "]", "{", "}", ", ", "\n", "\n  ", "<<: ", ".inf", ".nan", "? ", "!!set ", "~"],
  ...[
    "!!python/tuple ",
    "%YAML 1.1\n---\n",
    "'",
    '"',
    "|\n",
    "# ",
    "\t",
    "\0",
    "...",
    "1e99",
    "0x7fffffff",
    "1_000",
    ": ",
  ],
];

/** Bytes changed, and pieces of YAML put in at the beginnings and ends of words. */
function mutatedText(texts: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> {
  const insertion = fc.record({ at: fc.nat(), piece: fc.constantFrom(...PIECES), over: fc.nat(6) });
  return fc
    .record({ bytes: mutatedBytes(texts, 1), insertions: fc.array(insertion, { maxLength: 4 }) })
    .map(({ bytes, insertions }) =>
      encode(
        insertions.reduce((text, { at, piece, over }) => {
          const ends = [...text.matchAll(/\b/g)].map(({ index }) => index);
          const place = ends[at % ends.length] ?? 0;
          return text.slice(0, place) + piece + text.slice(place + over);
        }, new TextDecoder().decode(bytes)),
      ),
    );
}

const golden = (name: string) => `test/golden/${name}`;
const yamls = ["latents/cin256/config.yaml", "autoencoders/ldm-kl-f8/config.yaml", "origin/ddim-small/config.yml"].map(
  (path) => new Uint8Array(readFileSync(golden(path))),
);

export const configs: readonly Target[] = [
  ofModel(
    "unet",
    ["ddpm", "noattn", "defaults", "adm"].map((n) => golden(`models/${n}`)),
    "unet/config.json",
    model,
  ),
  ofModel(
    "conditional",
    ["sd1", "sd2", "sdxl", "cin"].map((n) => golden(`models/${n}`)),
    "unet/config.json",
    model,
  ),
  ofModel("openai", [golden("origin/guided-adm-legacy")], "config.json", model),
  ofModel("ermongroup", [golden("origin/ddim-small")], "config.yml", model),
  ofModel("vae", [golden("autoencoders/kl")], "vae/config.json", autoencoder),
  ofModel("vqvae", [golden("autoencoders/vq")], "vqvae/config.json", autoencoder),
  ofModel("ldm", [golden("autoencoders/ldm-cin256")], "config.json", autoencoder),
  ofModel("ldm-yaml", [golden("autoencoders/ldm-kl-f8")], "config.yaml", autoencoder),
  ofModel(
    "scheduler",
    ["models/sd1", "pipelines/eps_clip", "pipelines/v_trailing_zsnr"].map(golden),
    "scheduler/scheduler_config.json",
    scheduler,
  ),
  ofModel("model_index", ["weights/pixel-avatars-16"], "model_index.json", model),
  {
    name: "yaml",
    seeds: yamls,
    input: mutatedText(yamls),
    read: (bytes) => readConfig(memorySource({ "config.yaml": bytes }), "config.yaml", { parseYaml }),
  },
];
