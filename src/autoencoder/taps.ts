/** The outputs of an autoencoder's modules, for finding the one in which two implementations part. */

import { readBack } from "../network/readback.ts";
import { moduleOutputs, selectTaps, type Tap } from "../network/taps.ts";
import { type Tensor, toChannelsLast } from "../runtime/layout.ts";
import { runPaced } from "../runtime/pacer.ts";
import type { Autoencoder } from "./autoencoder.ts";
import { checkShape } from "./batches.ts";
import { Coder, lowerDecoder, lowerEncoder } from "./coder.ts";
import type { CoderNetwork } from "./network.ts";

/**
 * One evaluation of a half with the outputs of its modules, [N, C, H, W] by the modules' paths in the checkpoint. Nothing
 * is fused across them, and all are kept: slow, and large.
 *
 * @param sample images, or latents as `encode` gives them
 * @param options.modules those that the half does not have are left out; default: all
 * @throws ShapeError; DeviceError "out-of-memory"; the signal's reason when aborted
 */
export async function autoencoderTaps(
  autoencoder: Autoencoder,
  half: "encode" | "decode",
  sample: Tensor,
  options: { modules?: readonly string[]; signal?: AbortSignal } = {},
): Promise<Readonly<Record<string, Tensor>>> {
  const { model, device, dtype, spec, target } = autoencoder;
  const { modules, signal } = options;
  const { naming } = model.layout;
  const channels = half === "encode" ? spec.in_channels : spec.latent_channels;
  const [images, height, width] = checkShape(sample, half, channels);
  let taps: readonly Tap[] = [];
  const pin = ({ graph }: CoderNetwork) => {
    taps = selectTaps(
      moduleOutputs(graph, graph.params(), () => "image"),
      naming,
      modules,
    );
    return taps.map(({ value }) => value);
  };
  const choices = { height, width, dtype };
  const lowered =
    half === "encode"
      ? lowerEncoder(spec, target, choices, pin)
      : lowerDecoder(spec, target, { ...choices, quantize: spec.kind === "vq", scale: 1, shift: 0 }, pin);
  const weights = await autoencoder.borrow(half, signal);
  let coder: Coder | undefined;
  try {
    coder = await Coder.create(device, lowered, weights, { images });
    device.gpu.queue.writeBuffer(coder.input, 0, toChannelsLast(sample.data, images, channels, height * width));
    await runPaced(device, coder.program, () => signal?.throwIfAborted());
    const made: Record<string, Tensor> = {};
    for (const { name, value, form } of taps) {
      const array = coder.program.storage.get(value);
      if (!array) throw new TypeError(`internal: ${value.name} was not kept`);
      made[name] = await readBack(device, value, array, images, form);
    }
    return made;
  } finally {
    coder?.dispose();
    weights.dispose();
  }
}
