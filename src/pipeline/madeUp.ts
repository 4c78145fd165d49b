/** Weights from a seed, of the sizes that a configuration says: for measuring networks that nobody has trained. */
import { configuredAutoencoder, type OpenAutoencoderOptions } from "../autoencoder/open.ts";
import { layouts } from "../unet/layouts/detect.ts";
import { diffusers } from "../unet/layouts/diffusers.ts";
import type { ExpectedTensor } from "../weights/match.ts";
import { withRandomWeights } from "../weights/random.ts";
import type { ModelSource } from "../weights/source.ts";
import type { UnknownOptions } from "../weights/unknown.ts";
import { checkNetwork, expectedTensors } from "./expected.ts";

/**
 * What {@link expectedTensors} finds by a configuration alone, in the layout of its family.
 * @param file named in errors
 * @throws ConfigError
 */
export async function configuredTensors(
  json: Readonly<Record<string, unknown>>,
  file: string,
  options?: UnknownOptions,
): Promise<ExpectedTensor[]> {
  const layout = layouts.find((each) => each.configures(json)) ?? diffusers;
  const parsed = await layout.parse(json, file, "plain", options);
  checkNetwork(parsed.spec, file, layout.id);
  const tensors = expectedTensors(parsed, [parsed.naming]).map(({ name, shape }) => ({ name, shape }));
  // Several parameters can be parts of one tensor.
  return [...new Map(tensors.map((tensor) => [tensor.name, tensor])).values()];
}

/** A model with weights from a seed, for its network and for the autoencoder that it is configured with. */
export async function madeUp(
  given: ModelSource,
  network: { folder: string; json: Readonly<Record<string, unknown>>; file: string },
  seed: bigint,
  { firstStage, ...options }: { firstStage?: boolean } & Omit<OpenAutoencoderOptions, "variant">,
): Promise<ModelSource> {
  const { folder } = network;
  const own = await configuredTensors(network.json, network.file, { unknown: options.unknown });
  const stage = firstStage === false ? null : await configuredAutoencoder(given, options);
  const together = stage?.folder === folder;
  const tensors = together ? [...own, ...stage.tensors] : own;
  const source = withRandomWeights(given, folder, tensors, seed);
  return stage && !together ? withRandomWeights(source, stage.folder, stage.tensors, seed) : source;
}
