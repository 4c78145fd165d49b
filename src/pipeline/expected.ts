/** Which tensors a checkpoint has to hold for a configuration. */
import { checkWhole } from "../network/configReader.ts";
import type { Naming } from "../network/naming.ts";
import { buildUNet } from "../unet/build.ts";
import type { Layout, Parsed } from "../unet/layouts/types.ts";
import { type Attention, halvings, type UNetSpec } from "../unet/spec.ts";
import type { ExpectedTensor } from "../weights/match.ts";

/** Keys of layers and size: diffusers', and those that the originals share. */
const KEYS = {
  diffusers: { layers: "layers_per_block", size: "sample_size" },
  originals: { layers: "num_res_blocks", size: "image_size" },
} as const;

/** @throws ConfigError naming the key, for a network or a size that only takes time and memory */
export function checkNetwork(spec: UNetSpec, file: string, layout: Layout["id"]): void {
  const blocksOf = ({ attention, resnets }: { attention: Attention | null; resnets: number }) =>
    resnets + (attention?.kind === "transformer" ? attention.depths.reduce((a, b) => a + b, 0) : 0);
  const parts = [...spec.down, ...(spec.mid ? [spec.mid] : []), ...spec.up];
  const blocks = parts.reduce((sum, part) => sum + blocksOf(part), 0);
  const { channels, sample_size: size } = spec;
  checkWhole(file, { blocks, channels, size }, KEYS[layout === "diffusers" ? layout : "originals"]);
}

/** Every tensor that a checkpoint holds for the network, in each of its sets of weights, and for its class embedder. */
export function expectedTensors({ spec, classEmbedder }: Parsed, namings: readonly Naming[]): ExpectedTensor[] {
  // Parameters depend on the configuration alone; the smallest size that every level can halve shows them all.
  const side = 2 ** (halvings(spec) + 1);
  const { params } = buildUNet(spec, {
    size: { height: side, width: side },
    dtype: "f32",
    storage: "buffer",
    timesteps: "step",
  });
  const sources = namings.flatMap(({ locate }) => params.map(locate));
  if (!classEmbedder) return sources;
  return [...sources, { name: classEmbedder.tensor, shape: [classEmbedder.count, classEmbedder.width] }];
}
