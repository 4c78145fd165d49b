/** Finding an autoencoder and fitting its checkpoint: folders, layouts, old names, damage in the checkpoint's own words. */
import { describe, expect, test } from "vitest";
import { findAutoencoder, openAutoencoder } from "../../src/autoencoder/open.ts";
import { parseYaml } from "../../src/node/model.ts";
import { ConfigError, FileError, WeightError } from "../../src/runtime/errors.ts";
import { elementCount } from "../../src/weights/checkpoint.ts";
import { goldenPath, readFolder, type SafetensorsHeader, sourceOf, splitSafetensors } from "../support/models.ts";
import { expectRefusal } from "../support/refusal.ts";
import { memorySource, rawSafetensors } from "../weights/memory-source.ts";

const golden = (name: string) => goldenPath(`autoencoders/${name}`);
const CONFIG = "vae/config.json";
const KL = "vae/diffusion_pytorch_model.safetensors";
const LDM = "model.safetensors";

/** A golden folder with the header of its weights changed. */
function changed(name: string, file: string, change: (header: SafetensorsHeader) => void) {
  const folder = golden(name);
  const { header, data } = splitSafetensors(readFolder(folder)[file] as Uint8Array);
  change(header);
  return sourceOf(folder, { [file]: rawSafetensors(header, data) });
}

function rename(header: SafetensorsHeader, from: string, to: string): void {
  header[to] = header[from] as SafetensorsHeader[string];
  delete header[from];
}

const parameters = async (name: string) => {
  const { checkpoint } = await openAutoencoder(sourceOf(golden(name)), { parseYaml });
  return [...checkpoint.tensors.values()].reduce((sum, tensor) => sum + elementCount(tensor), 0);
};

describe("folders", () => {
  test("of a pipeline, of the autoencoder itself, of latent-diffusion", async () => {
    expect((await openAutoencoder(sourceOf(golden("kl")))).spec.kind).toBe("kl");
    expect((await openAutoencoder(sourceOf(golden("vq")))).spec.kind).toBe("vq");
    expect((await openAutoencoder(sourceOf(`${golden("vq")}/vqvae`))).spec.kind).toBe("vq");
    const { spec, layout } = await openAutoencoder(sourceOf(golden("ldm-cin256")));
    expect(spec).toMatchObject({ kind: "vq", num_vq_embeddings: 256 });
    expect(layout.reason).toMatch(/^the layout of latent-diffusion because a tensor is named first_stage_model\./);
    expect(layout.naming.module("decoder.up_blocks.0.upsamplers.0")).toBe("first_stage_model.decoder.up.2.upsample");
    expect(layout.naming.module("post_quant_conv")).toBe("first_stage_model.post_quant_conv");
    expect(await parameters("ldm-kl-f8")).toBe(554_055);
  });

  test("that have no autoencoder", async () => {
    expect(await findAutoencoder(sourceOf(goldenPath("models/noattn")))).toBeNull();
    expect(await findAutoencoder(sourceOf(goldenPath("models/noattn/unet")))).toBeNull();
    const identity = { target: "ldm.models.autoencoder.IdentityFirstStage" };
    const config = JSON.stringify({ model: { params: { first_stage_config: identity, unet_config: {} } } });
    expect(await findAutoencoder(memorySource({ "config.json": config }))).toBeNull();
    await expectRefusal(
      openAutoencoder(sourceOf(goldenPath("models/noattn"))),
      FileError,
      /has no autoencoder: neither vae\/config.json nor vqvae\/config.json, nor a configuration of one/,
    );
  });

  test("with YAML, where nothing reads it", async () => {
    await expectRefusal(openAutoencoder(sourceOf(golden("ldm-kl-f8"))), FileError, /config.yaml: is YAML/);
  });
});

describe("checkpoints", () => {
  test("with attention as it was named before diffusers 0.15", async () => {
    const old = { to_q: "query", to_k: "key", to_v: "value", "to_out.0": "proj_attn" };
    const source = changed("kl", KL, (header) => {
      for (const name of Object.keys(header))
        for (const [today, before] of Object.entries(old))
          if (name.includes(`.${today}.`)) rename(header, name, name.replace(today, before));
    });
    const { checkpoint } = await openAutoencoder(source);
    expect(checkpoint.info("encoder.mid_block.attentions.0.to_q.weight").name).toMatch(/query\.weight$/);
  });

  test("that do not fit are named in their own words, with how they were read", async () => {
    const source = changed("ldm-cin256", LDM, (header) => {
      rename(header, "first_stage_model.decoder.up.2.block.1.conv2.weight", "first_stage_model.decoder.extra");
      const own = header["first_stage_model.encoder.mid.attn_1.q.weight"] as SafetensorsHeader[string];
      own.shape = [32, 32];
    });
    const attempt = openAutoencoder(source);
    await expectRefusal(
      attempt,
      WeightError,
      /read in the layout of latent-diffusion because a tensor is named first_/,
    );
    await expectRefusal(attempt, WeightError, /missing first_stage_model\.decoder\.up\.2\.block\.1\.conv2\.weight;/);
    await expectRefusal(attempt, WeightError, /unexpected first_stage_model\.decoder\.extra;/);
    await expectRefusal(attempt, WeightError, /mid\.attn_1\.q\.weight \[32, 32\] \(expected \[32, 32, 1, 1\]\)/);
  });

  test("may hold a loss and its networks", async () => {
    const { header, data } = splitSafetensors(readFolder(golden("ldm-kl-f8"))[LDM] as Uint8Array);
    const longer = new Uint8Array(data.length + 16);
    longer.set(data);
    header["loss.logvar"] = { dtype: "F32", shape: [4], data_offsets: [data.length, longer.length] };
    const folder = sourceOf(golden("ldm-kl-f8"), { [LDM]: rawSafetensors(header, longer) });
    expect((await openAutoencoder(folder, { parseYaml })).spec.kind).toBe("kl");
  });

  test("of something else", async () => {
    const source = changed("kl", KL, (header) => {
      delete header.__metadata__;
      for (const name of Object.keys(header)) rename(header, name, `net.${name}`);
    });
    await expectRefusal(openAutoencoder(source), FileError, /holds no autoencoder that is known: it has net\./);
  });
});

test("a VQModel without scaling_factor is taken as trained, with a warning", async () => {
  const file = "vqvae/config.json";
  const { scaling_factor, ...config } = JSON.parse(new TextDecoder().decode(readFolder(golden("vq"))[file]));
  expect(scaling_factor).toBe(1);
  const { spec, warnings } = await openAutoencoder(sourceOf(golden("vq"), { [file]: JSON.stringify(config) }));
  expect(spec.scaling_factor).toBe(1);
  expect(warnings).toEqual([expect.stringMatching(/config.json: scaling_factor is missing: taken as 1/)]);
  expect((await openAutoencoder(sourceOf(golden("kl")))).warnings).toEqual([]);
});

test("a class that is no autoencoder of ours is refused by name", async () => {
  const source = sourceOf(golden("kl"), { [CONFIG]: JSON.stringify({ _class_name: "AutoencoderTiny" }) });
  await expectRefusal(openAutoencoder(source), ConfigError, /_class_name: AutoencoderTiny is not supported/);
});
