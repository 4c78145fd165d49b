/** A model on a device: its weights, its network lowered for the sizes asked for, and the vectors of its timesteps and classes. */
import type { Autoencoder } from "../autoencoder/autoencoder.ts";
import { keepFinal } from "../kernels/derive.ts";
import { methodsFor, targetFor } from "../kernels/target.ts";
import { distinct } from "../kernels/weights.ts";
import type { PackedWeights } from "../network/packed.ts";
import { Weights } from "../network/weights.ts";
import type { Device } from "../runtime/device.ts";
import { UsageError } from "../runtime/errors.ts";
import { type Judge, judgeBy, type NonFinite } from "../runtime/finite.ts";
import type { Target } from "../runtime/kernel.ts";
import { resolveDevice } from "../runtime/openDevice.ts";
import { toConsole } from "../runtime/printable.ts";
import { compileCalls } from "../runtime/program.ts";
import type { Value } from "../runtime/values.ts";
import { timestepSinusoid } from "../sampler/embedding.ts";
import type { Network } from "../unet/build.ts";
import { type LoweredNetwork, lowerNetwork, plannedBytes } from "../unet/lowered.ts";
import { tokensOf } from "./contexts.ts";
import type { LatentPreview } from "./latentPreview.ts";
import type { Model } from "./model.ts";
import { modelHash } from "./modelId.ts";
import type { CreateOptions } from "./options.ts";
import { checkSize, ownSize } from "./size.ts";
import { measuredMethods, type TuningTable } from "./tuningTable.ts";
import { Turns } from "./turns.ts";
import type { NetworkDType } from "./types.ts";

/** What of a checkpoint stays in memory, and is not read again for another device. */
interface Kept {
  /** Learned vectors of timesteps, where the model has them. */
  readonly timeTable: Float32Array | null;
  /** The context of every class, where classes have one. */
  readonly classTable: Float32Array | null;
  readonly packed: PackedWeights | undefined;
}

async function readKept(model: Model, { packed: store, signal }: CreateOptions): Promise<Kept> {
  const { checkpoint, classEmbedder, config, naming } = model;
  const table = naming.locate({ name: "time_proj.weight", shape: [] }).name;
  return {
    timeTable: config.time.type === "positional" ? null : await checkpoint.read(table, signal),
    classTable: classEmbedder ? await checkpoint.read(classEmbedder.tensor, signal) : null,
    packed: store && { store, model: await modelHash(model, signal), others: new Map() },
  };
}

export class LoadedModel {
  readonly #lowered = new Map<string, LoweredNetwork>();
  /** Everything that is done on the device waits for its turn. */
  readonly turns: Turns;

  private constructor(
    readonly model: Model,
    readonly device: Device,
    /** Opened or wrapped for this alone. */
    private readonly ownsDevice: boolean,
    readonly dtype: NetworkDType,
    /** What the kernels are made for. */
    readonly target: Target,
    /** The measured methods in use; null: all by size. */
    readonly tuning: TuningTable | null,
    readonly weights: Weights,
    private readonly kept: Kept,
    /** Its weights are loaded when they are first needed. Always f32: the largest of the published ones leave f16's range. */
    readonly firstStage: Autoencoder | null,
    /** How latents look before they are decoded. */
    readonly preview: LatentPreview | null,
    /** Most bytes of activations. */
    readonly memoryLimit: number | undefined,
    readonly nonFinite: NonFinite | undefined,
    readonly warn: (text: string) => void,
  ) {
    this.turns = new Turns(`the pipeline of ${model.name}`, device);
  }

  /**
   * @param open where no device is given; default: on `navigator.gpu`
   * @param before the same on a device that is lost
   * @throws WeightError, FileError, DeviceError; the signal's reason; nothing stays allocated
   */
  static async load(
    model: Model,
    options: CreateOptions,
    open?: () => Promise<Device>,
    before?: LoadedModel,
  ): Promise<LoadedModel> {
    const { device: given, signal } = options;
    const device = await resolveDevice(given, open);
    try {
      return await LoadedModel.#create(model, device, options, before);
    } catch (error) {
      const reason = error === signal?.reason ? error : await device.explain(error);
      if (device !== given) device.dispose();
      throw reason;
    }
  }

  static async #create(
    model: Model,
    device: Device,
    options: CreateOptions,
    before?: LoadedModel,
  ): Promise<LoadedModel> {
    const began = performance.now();
    const { signal, onProgress, nonFinite } = options;
    const warn = options.onWarning ?? toConsole;
    const judge = judgeBy(nonFinite, warn);
    const dtype = options.dtype === "f16" ? "f16" : "f32";
    const latents = model.firstStage && (await import("./latents.ts"));
    const measured = options.tuning || options.tune ? await import("./tuning.ts") : null;
    const tuning = measured && (await measured.tuningFor(model, device, dtype, options));
    const free = targetFor(device, methodsFor(options.precision, tuning ? measuredMethods(tuning) : undefined));
    const init = { size: ownSize(model), dtype, timesteps: "step", contextLength: tokensOf(model) } as const;
    const concat = model.concat?.channels;
    const lowered = lowerNetwork(model.config, free, { ...init, concat });
    // A single evaluation takes all channels as one sample.
    const single = concat ? lowerNetwork(model.config, free, init).weights : [];
    const own = distinct([...lowered.weights, ...single]);
    const target = keepFinal(free, own);
    const kept = before?.kept ?? (await readKept(model, options));
    // A model without a size of its own is compiled when one is chosen.
    const calls = model.config.sample_size ? lowered.calls : [];
    const compiling = compileCalls(device, calls, (done, of) => onProgress?.({ type: "compile", done, of }));
    compiling.catch(() => {});
    const weights = await Weights.load(device, target, own.values(), model.checkpoint, {
      signal,
      locate: model.naming.locate,
      judge,
      packed: kept.packed,
      onProgress: (p) => onProgress?.({ type: "download", ...p }),
    });
    try {
      await compiling;
      signal?.throwIfAborted();
    } catch (error) {
      weights.dispose();
      throw error;
    }
    onProgress?.({ type: "ready", ms: performance.now() - began });
    const { memory, precision } = options;
    const progress = (p: { file: string; loaded: number; total: number }) => onProgress?.({ type: "download", ...p });
    const stage = { memory, precision, onProgress: progress, nonFinite, onWarning: options.onWarning };
    const firstStage = model.firstStage && latents && new latents.Autoencoder(model.firstStage, device, stage);
    const preview = latents && firstStage && new latents.LatentPreview(firstStage);
    return new LoadedModel(
      model,
      device,
      device !== options.device,
      dtype,
      target,
      tuning,
      weights,
      kept,
      firstStage,
      preview,
      memory,
      nonFinite,
      warn,
    );
  }

  get classTable(): Float32Array | null {
    return this.kept.classTable;
  }

  /** Hears of numbers that are not finite. */
  get judge(): Judge {
    return judgeBy(this.nonFinite, this.warn);
  }

  lower(
    height: number,
    width: number,
    timesteps: "step" | "image",
    contextLength?: number,
    pin?: (network: Network) => readonly Value[],
  ): LoweredNetwork {
    const key = `${height}×${width} ${timesteps} ${contextLength}`;
    const concat = timesteps === "step" ? this.model.concat?.channels : undefined;
    const init = { size: { height, width }, dtype: this.dtype, timesteps, contextLength, concat };
    if (pin) return lowerNetwork(this.model.config, this.target, init, pin);
    let lowered = this.#lowered.get(key);
    if (!lowered) {
      lowered = lowerNetwork(this.model.config, this.target, init);
      this.#lowered.set(key, lowered);
    }
    return lowered;
  }

  /** What the network reads of timesteps: host-made sinusoids, or learned vectors. */
  timestepVectors(name: string, timesteps: readonly number[]): Float32Array {
    const { time } = this.model.config;
    const { timeTable } = this.kept;
    const width = time.inputs;
    const out = new Float32Array(timesteps.length * width);
    timesteps.forEach((t, i) => {
      if (!Number.isFinite(t)) throw new UsageError(name, `${name} must be a number, got ${t}`);
      if (time.type === "learned" && !(Number.isInteger(t) && t >= 0 && t < time.num_train_timesteps))
        throw new UsageError(
          name,
          `${name} ${t} is out of range: the learned embedding has rows 0..${time.num_train_timesteps - 1}`,
        );
      const own = () => timeTable?.subarray(t * width, (t + 1) * width) ?? timestepSinusoid(t, width, time);
      out.set(time.vector?.(t, timeTable) ?? own(), i * width);
    });
    return out;
  }

  /** Bytes of the weights on the GPU. */
  get weightBytes(): number {
    return this.weights.bytes + (this.firstStage?.bytes ?? 0);
  }

  /** Activation memory of a batch at the model's own size, and the least that any plan could do with. */
  plan(batch: number): { bytes: number; lowerBound: number } {
    const { height, width } = checkSize(this.model, ownSize(this.model));
    return plannedBytes(this.lower(height, width, "step", tokensOf(this.model)), batch);
  }

  /** Frees the weights, and the device where it is its own. */
  release(): void {
    this.weights.dispose();
    this.firstStage?.dispose();
    if (this.ownsDevice) this.device.dispose();
  }

  dispose(): void {
    if (this.turns.close()) this.release();
  }
}
