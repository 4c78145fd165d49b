/** A decoder that takes latents in overlapping tiles, for images that are too large to be decoded at once. */
import { blendTile, cutTile } from "../kernels/tiles.ts";
import type { Weights } from "../network/weights.ts";
import type { Device } from "../runtime/device.ts";
import type { KernelCall, Target } from "../runtime/kernel.ts";
import { arrayOf, createValueArray, type GpuArray } from "../runtime/memory.ts";
import { Program, type Replay, sequence } from "../runtime/program.ts";
import { byteSize, makeValue, type Value } from "../runtime/values.ts";
import {
  Coder,
  type CoderInit,
  coderBytes,
  coderImages,
  type DecoderChoices,
  type GpuCoder,
  type LoweredCoder,
  lowerDecoder,
} from "./coder.ts";
import { type AutoencoderSpec, latentScale, ownLatents } from "./spec.ts";
import { type Span, spans, tileSides } from "./tiles.ts";

/** A decoder of one tile, and the whole's values. */
export interface LoweredTiles {
  readonly tile: LoweredCoder;
  readonly side: number;
  readonly latents: Value;
  readonly image: Value;
}

const whole = (name: string, height: number, width: number, channels: number): Value =>
  makeValue({ name, shape: [height, width, channels], batched: true, dtype: "f32", storage: "buffer" });

/** Bytes of GPU memory that so many images take beside the weights. */
export const tiledBytes = ({ tile, latents, image }: LoweredTiles, images: number): number =>
  coderBytes(tile, images) + byteSize(latents, images) + byteSize(image, images);

/**
 * The largest tiles, up to the size of the images that the autoencoder was trained on, with which one image takes at most
 * `limit` bytes.
 * @returns null when no tiles are small enough
 */
export function lowerTiles(
  device: Device,
  spec: AutoencoderSpec,
  target: Target,
  choices: DecoderChoices,
  limit: number,
): LoweredTiles | null {
  const { height, width } = choices;
  const scale = latentScale(spec);
  const own = ownLatents(spec);
  const latents = whole("latents", height, width, spec.latent_channels);
  const image = whole("image", height * scale, width * scale, spec.out_channels);
  for (const side of tileSides(Math.min(own.height, own.width), height, width)) {
    const size = { height: Math.min(side, height), width: Math.min(side, width) };
    const tiles = { tile: lowerDecoder(spec, target, { ...choices, ...size }), side, latents, image };
    if (tiledImages(device, tiles) >= 1 && tiledBytes(tiles, 1) <= limit) return tiles;
  }
  return null;
}

/** The tile's cutting and blending at every place, line by line. */
function places(target: Target, { tile, side, latents, image }: LoweredTiles) {
  const { input, output } = tile.network;
  const scale = (image.shape[0] as number) / (latents.shape[0] as number);
  const [height, width] = latents.shape as [number, number];
  // One pipeline for all places, though these kernels have places as constants elsewhere.
  const shared: Target = { ...target, shapes: "uniform" };
  const at = (down: Span, across: Span): { cut: KernelCall; blend: KernelCall } => ({
    cut: cutTile.lower(shared, "cut", { x: latents, tile: input }, {}, { TOP: down.at, LEFT: across.at }),
    blend: blendTile.lower(
      shared,
      "blend",
      { tile: output, y: image },
      {},
      {
        TOP: down.at * scale,
        LEFT: across.at * scale,
        Y0: down.first * scale,
        X0: across.first * scale,
        ABOVE: down.before * scale,
        BELOW: down.after * scale,
        BEFORE: across.before * scale,
        AFTER: across.after * scale,
      },
    ),
  });
  return spans(height, side).flatMap((down) => spans(width, side).map((across) => at(down, across)));
}

/** Most images that the device's bindings allow; 0 where not even one fits. */
export function tiledImages(device: Device, { tile, latents, image }: LoweredTiles): number {
  const most = (value: Value) => Math.floor(device.maxUnits("buffer", 1) / byteSize(value, 1));
  return Math.min(coderImages(device, tile), most(latents), most(image));
}

export class TiledDecoder implements GpuCoder {
  readonly indices = null;

  private constructor(
    private readonly device: Device,
    readonly input: GPUBuffer,
    readonly output: GpuCoder["output"],
    readonly program: Replay,
    /** Cutting and blending of every tile. */
    private readonly edges: readonly Program[],
    private readonly coder: Coder,
    private readonly owned: readonly GpuArray[],
  ) {}

  /** @throws DeviceError "out-of-memory"; nothing stays allocated */
  static async create(
    device: Device,
    target: Target,
    tiles: LoweredTiles,
    weights: Weights,
    { images, input: given, onCompile }: CoderInit,
  ): Promise<TiledDecoder> {
    const { tile, latents, image } = tiles;
    const coder = await Coder.create(device, tile, weights, { images, onCompile });
    const owned: GpuArray[] = [];
    const edges: Program[] = [];
    try {
      const { source, result } = await device.allocate("an image in tiles", () => {
        const make = (value: Value) => {
          const array = createValueArray(device, value, images);
          owned.push(array);
          return array;
        };
        return { source: given ? arrayOf(given) : make(latents), result: make(image) };
      });
      const external = new Map<Value, GpuArray>([
        [latents, source],
        [image, result],
        [tile.network.input, arrayOf(coder.input)],
        [tile.network.output, coder.output.array],
      ]);
      const edge = async (call: KernelCall) => {
        const program = await Program.create(device, { label: call.label, calls: [call], batch: images, external });
        edges.push(program);
        return program;
      };
      const order: Program[] = [];
      for (const { cut, blend } of places(target, tiles)) order.push(await edge(cut), coder.program, await edge(blend));
      const output = { value: image, array: result };
      const input = source.object as GPUBuffer;
      return new TiledDecoder(device, input, output, sequence(order), edges, coder, owned);
    } catch (error) {
      release(device, edges, coder, owned);
      throw error;
    }
  }

  get images(): number {
    return this.coder.images;
  }

  get bytes(): number {
    return this.owned.reduce((sum, array) => sum + array.bytes, 0) + this.coder.bytes;
  }

  dispose(): void {
    release(this.device, this.edges, this.coder, this.owned);
  }
}

function release(device: Device, edges: readonly Program[], coder: Coder, owned: readonly GpuArray[]): void {
  for (const program of edges) program.dispose();
  coder.dispose();
  for (const { object } of owned) device.release(object);
}
