/**
 * What latents look like without decoding them: every colour is a linear function of one latent's channels. Its
 * coefficients are fitted once to the model's own decoder, by least squares over random latents.
 */
import type { Autoencoder } from "../autoencoder/autoencoder.ts";
import { fromSampler } from "../autoencoder/scaling.ts";
import { type AutoencoderSpec, latentScale } from "../autoencoder/spec.ts";
import type { RgbaImage } from "../image/rgba.ts";
import { toRgbaImages } from "../image/samples.ts";
import type { ImageSize } from "../network/configReader.ts";
import type { Tensor } from "../runtime/layout.ts";
import { initialNoise } from "../sampler/philox.ts";

/** Patches of one colour along each side of the latents that are fitted to, and their size: a decoder smears edges. */
const PATCHES = 8;
const PATCH = 2;

/** Per colour: a factor for every channel of a latent, then what is added. */
export type ColourMap = readonly (readonly number[])[];

/** Standard normal, constant on patches, as a sampler has them: [1, C, H, W]. */
function patches({ latent_channels: channels }: AutoencoderSpec): Tensor {
  const noise = initialNoise(0n, 0, channels, PATCHES, PATCHES);
  const side = PATCHES * PATCH;
  const data = Float32Array.from({ length: channels * side * side }, (_, i) => {
    const [c, y, x] = [Math.floor(i / side ** 2), Math.floor(i / side) % side, i % side];
    return noise[(c * PATCHES + Math.floor(y / PATCH)) * PATCHES + Math.floor(x / PATCH)] as number;
  });
  return { shape: [1, channels, side, side], data };
}

/** Means of squares of `scale` × `scale` pixels: [C, H·W] of [1, C, H·scale, W·scale]. */
function blockMeans({ shape, data }: Tensor, scale: number): number[][] {
  const [, channels = 0, height = 0, width = 0] = shape;
  const [h, w] = [height / scale, width / scale];
  return Array.from({ length: channels }, (_, c) => {
    const means = new Array<number>(h * w).fill(0);
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const at = Math.floor(y / scale) * w + Math.floor(x / scale);
        means[at] = (means[at] as number) + (data[(c * height + y) * width + x] as number) / scale ** 2;
      }
    return means;
  });
}

/**
 * Coefficients a of the least Σ (Σ_k a_k·inputs_k − wanted)², by its normal equations.
 * @param inputs one list of values per unknown, as long as `wanted`, and linearly independent
 */
export function leastSquares(inputs: readonly ArrayLike<number>[], wanted: ArrayLike<number>): number[] {
  const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => {
    let sum = 0;
    for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
    return sum;
  };
  const equations = inputs.map((a) => [...inputs.map((b) => dot(a, b)), dot(a, wanted)]);
  // Symmetric and positive, so that no two equations have to change places.
  for (const [k, pivot] of equations.entries()) {
    const head = pivot[k] as number;
    for (let j = k; j < pivot.length; j++) pivot[j] = (pivot[j] as number) / head;
    for (const equation of equations) {
      if (equation === pivot) continue;
      const factor = equation[k] as number;
      for (let j = k; j < equation.length; j++) equation[j] = (equation[j] as number) - factor * (pivot[j] as number);
    }
  }
  return equations.map((equation) => equation.at(-1) as number);
}

/** The colours of a decoder's pictures, as linear functions of a sampler's latents. */
async function fitColours(firstStage: Autoencoder): Promise<ColourMap> {
  const { spec } = firstStage;
  const latents = patches(spec);
  const { image } = await firstStage.decode(fromSampler(spec, latents));
  const points = latents.data.length / spec.latent_channels;
  const inputs: ArrayLike<number>[] = Array.from({ length: spec.latent_channels }, (_, c) =>
    latents.data.subarray(c * points, (c + 1) * points),
  );
  inputs.push(new Float32Array(points).fill(1));
  return blockMeans(image, latentScale(spec)).map((colour) => leastSquares(inputs, colour));
}

export class LatentPreview {
  #colours: Promise<ColourMap> | undefined;

  constructor(private readonly firstStage: Autoencoder) {}

  /**
   * Pictures as large as the latents. The first call decodes a small picture, to fit the colours.
   * @param latents a sampler's, [n, C, H, W]
   */
  async images(latents: Float32Array, n: number, size: ImageSize): Promise<RgbaImage[]> {
    this.#colours ??= fitColours(this.firstStage);
    this.#colours.catch(() => {
      this.#colours = undefined;
    });
    const colours = await this.#colours;
    const { latent_channels: channels } = this.firstStage.spec;
    const points = size.height * size.width;
    const seen = new Float32Array(n * colours.length * points);
    for (let i = 0; i < n; i++)
      for (const [k, factors] of colours.entries())
        for (let p = 0; p < points; p++) {
          let sum = factors[channels] as number;
          for (let c = 0; c < channels; c++)
            sum += (factors[c] as number) * (latents[(i * channels + c) * points + p] as number);
          seen[(i * colours.length + k) * points + p] = sum;
        }
    return toRgbaImages(seen, n, colours.length, size);
  }
}
