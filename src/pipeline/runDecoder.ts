/** Pictures of a run's latents, batch by batch. */
import type { Autoencoder } from "../autoencoder/autoencoder.ts";
import { inBatches } from "../runtime/batches.ts";
import type { Judge } from "../runtime/finite.ts";
import { toChannelsLast } from "../runtime/layout.ts";
import { uploadBuffer } from "../runtime/memory.ts";
import { type Decoded, decodeState } from "./decoding.ts";
import type { ResolvedRun } from "./run.ts";
import type { SavedRun, Tensor } from "./types.ts";

export class RunDecoder {
  readonly #samples: Float32Array<ArrayBuffer>;

  constructor(
    private readonly firstStage: Autoencoder,
    private readonly run: ResolvedRun,
    private readonly check: () => void,
    private readonly judge: Judge,
    private readonly pixels?: GPUBuffer,
  ) {
    this.#samples = new Float32Array(pixels ? 0 : run.count * this.#size);
  }

  /** Values of one picture. */
  get #size(): number {
    const { height, width } = this.run.picture;
    return this.firstStage.spec.out_channels * height * width;
  }

  /** [N, C, H, W] */
  get samples(): Tensor {
    const { count, picture } = this.run;
    const shape = [count, this.firstStage.spec.out_channels, picture.height, picture.width];
    return { shape, data: this.#samples };
  }

  /** Takes the state over. */
  async decode(state: GPUBuffer, first: number, count: number): Promise<Decoded["images"]> {
    const { firstStage, run, pixels, check, judge } = this;
    const { height, width, picture } = run;
    const offset = first * picture.height * picture.width * 4;
    try {
      const place = pixels && { buffer: pixels, offset };
      const made = await decodeState({
        firstStage,
        state,
        count,
        height,
        width,
        pixels: place,
        check,
        judge,
        number: run.firstImage + first,
      });
      if (!pixels) this.#samples.set(made.samples, first * this.#size);
      return made.images;
    } finally {
      firstStage.device.release(state);
    }
  }

  /** Pictures of the batches before a saved one. */
  async saved({ done, first }: SavedRun, channels: number): Promise<Decoded["images"]> {
    const { device } = this.firstStage;
    const points = this.run.height * this.run.width;
    const decode = async (from: number, count: number) => {
      const own = done.subarray(from * channels * points, (from + count) * channels * points);
      const values = toChannelsLast(own, count, channels, points);
      const state = await device.allocate("saved latents", () => uploadBuffer(device, "saved latents", values));
      return this.decode(state, from, count);
    };
    const images: Decoded["images"] = [];
    for await (const { made } of inBatches(first, first, decode)) images.push(...made);
    return images;
  }
}
