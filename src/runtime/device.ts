/**
 * One opened GPU device with its capabilities, its accounts (live bytes and objects, submits, read-backs: tests count
 * them) and its cache of pipelines. The engine creates every GPU object through this class; a caller's own GPUDevice can
 * be wrapped and is never destroyed.
 */
import { type Capabilities, capabilitiesOf } from "./capabilities.ts";
import { DdimError, DeviceError } from "./errors.ts";
import { PipelineCache } from "./pipelines.ts";
import { settled } from "./software/patience.ts";
import { type Storage, TEXTURE_WIDTH } from "./values.ts";

export interface DeviceCounters {
  liveBytes: number;
  peakBytes: number;
  liveObjects: number;
  created: number;
  submits: number;
  mapAsync: number;
}

/** What identifies an adapter to a person and to a cache. */
export const adapterName = (info: GPUAdapterInfo): string =>
  info.description || info.device || [info.vendor, info.architecture].filter(Boolean).join(" ") || "unknown adapter";

/** Mapped memory. @throws DeviceError "out-of-memory" in place of what implementations throw then, a RangeError */
function mapping<T>(what: string, map: () => T): T {
  try {
    return map();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const reason = error.message.split("\n")[0];
    throw new DeviceError("out-of-memory", `${what} does not fit in memory: ${reason}`, undefined, { cause: error });
  }
}

/** Whether memory was short, so that a smaller batch may do. */
export const isShort = (error: unknown): boolean => error instanceof DeviceError && error.reason === "out-of-memory";

export class Device {
  readonly name: string;
  readonly capabilities: Capabilities;
  readonly pipelines: PipelineCache;
  readonly counters: DeviceCounters = {
    liveBytes: 0,
    peakBytes: 0,
    liveObjects: 0,
    created: 0,
    submits: 0,
    mapAsync: 0,
  };
  readonly #sizes = new Map<GPUBuffer | GPUTexture, number>();
  /** An object of its own, so that a caller's GPUDevice keeps this alone alive and not the whole cache. */
  readonly #failed: { error?: DeviceError; disposed?: boolean } = {};
  readonly #onError: (event: Event) => void;

  constructor(
    readonly gpu: GPUDevice,
    info: GPUAdapterInfo,
    readonly owned: boolean,
  ) {
    this.name = adapterName(info);
    this.capabilities = capabilitiesOf(gpu, info);
    this.pipelines = new PipelineCache(gpu);
    const failed = this.#failed;
    gpu.lost.then((lost) => {
      // A caller may destroy a device that we still use.
      if (lost.reason !== "destroyed" || !failed.disposed)
        failed.error = new DeviceError("lost", `the GPU device was lost: ${lost.message}`);
    });
    this.#onError = (event) => {
      const { error } = event as GPUUncapturedErrorEvent;
      const memory = typeof GPUOutOfMemoryError !== "undefined" && error instanceof GPUOutOfMemoryError;
      failed.error ??= new DeviceError(
        memory ? "out-of-memory" : "validation",
        `the GPU refused work: ${error.message}`,
      );
    };
    gpu.addEventListener("uncapturederror", this.#onError);
  }

  /** Most storage units that one binding can hold. */
  maxUnits(storage: Storage, bytesPerUnit: number): number {
    const { maxStorageBufferBindingSize, maxBufferSize, maxTextureDimension2D } = this.gpu.limits;
    if (storage === "texture") return TEXTURE_WIDTH * maxTextureDimension2D;
    return Math.floor(Math.min(maxStorageBufferBindingSize, maxBufferSize) / bytesPerUnit);
  }

  /**
   * @param data what the buffer begins with, from the start
   * @throws DeviceError "out-of-memory" where memory for the data cannot be mapped
   */
  createBuffer(descriptor: GPUBufferDescriptor, data?: ArrayBufferView): GPUBuffer {
    const what = `${descriptor.label} (${Math.ceil(descriptor.size / 2 ** 20)} MiB)`;
    const mapped = data ? { ...descriptor, mappedAtCreation: true } : descriptor;
    const buffer = mapping(what, () => this.gpu.createBuffer(mapped));
    this.#account(buffer, descriptor.size);
    if (!data) return buffer;
    try {
      const target = mapping(what, () => new Uint8Array(buffer.getMappedRange()));
      target.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      buffer.unmap();
      return buffer;
    } catch (error) {
      this.release(buffer);
      throw error;
    }
  }

  createTexture(descriptor: GPUTextureDescriptor, bytes: number): GPUTexture {
    const texture = this.gpu.createTexture(descriptor);
    this.#account(texture, bytes);
    return texture;
  }

  #account(object: GPUBuffer | GPUTexture, bytes: number): void {
    this.#sizes.set(object, bytes);
    this.counters.created++;
    this.counters.liveObjects++;
    this.counters.liveBytes += bytes;
    this.counters.peakBytes = Math.max(this.counters.peakBytes, this.counters.liveBytes);
  }

  /** Destroys what this device created; a second call for the same object does nothing. */
  release(object: GPUBuffer | GPUTexture): void {
    const bytes = this.#sizes.get(object);
    if (bytes === undefined) return;
    this.#sizes.delete(object);
    this.counters.liveObjects--;
    this.counters.liveBytes -= bytes;
    object.destroy();
  }

  submit(commands: GPUCommandBuffer[]): void {
    this.check();
    this.counters.submits++;
    this.gpu.queue.submit(commands);
  }

  /** Resolves when everything that was submitted is done. */
  done(): Promise<void> {
    return settled(this.capabilities, this.gpu.queue.onSubmittedWorkDone());
  }

  /**
   * Copies `size` bytes to JavaScript, of a texture from its first texel on. The only way the engine reads anything back.
   * @param offset first byte, in buffers
   */
  async read(source: GPUBuffer | GPUTexture, size: number, offset = 0): Promise<ArrayBuffer> {
    const texture = "format" in source ? source : undefined;
    const bytesPerRow = TEXTURE_WIDTH * (texture?.format === "rgba16float" ? 8 : 16);
    const lines = Math.ceil(size / bytesPerRow);
    const bytes = texture ? lines * bytesPerRow : size;
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    const what = `a read-back of ${Math.ceil(bytes / 2 ** 20)} MiB`;
    const staging = await this.allocate(what, () => this.createBuffer({ label: "read-back", size: bytes, usage }));
    try {
      const encoder = this.gpu.createCommandEncoder();
      if (texture) encoder.copyTextureToBuffer({ texture }, { buffer: staging, bytesPerRow }, [TEXTURE_WIDTH, lines]);
      else encoder.copyBufferToBuffer(source as GPUBuffer, offset, staging, 0, size);
      this.submit([encoder.finish()]);
      this.counters.mapAsync++;
      await settled(this.capabilities, staging.mapAsync(GPUMapMode.READ)).catch(async (cause: unknown) => {
        throw await this.explain(cause);
      });
      this.check();
      return mapping(what, () => staging.getMappedRange().slice(0, size));
    } finally {
      this.release(staging);
    }
  }

  /**
   * Runs a function that allocates, and turns the GPU's refusal into a typed error. Everything the function created is
   * released again when it fails.
   */
  async allocate<T>(what: string, create: () => T): Promise<T> {
    const before = new Set(this.#sizes.keys());
    this.gpu.pushErrorScope("out-of-memory");
    this.gpu.pushErrorScope("validation");
    let result: T | undefined;
    let thrown: unknown;
    try {
      result = create();
    } catch (error) {
      thrown = error;
    }
    const created = [...this.#sizes.keys()].filter((object) => !before.has(object));
    // Both scopes end before anybody else can push one.
    const [invalid, memory] = await Promise.all([this.gpu.popErrorScope(), this.gpu.popErrorScope()]);
    if (!thrown && !invalid && !memory) return result as T;
    for (const object of created) this.release(object);
    if (memory) throw new DeviceError("out-of-memory", `${what} does not fit in GPU memory: ${memory.message}`);
    if (invalid) throw new DeviceError("validation", `internal: ${what}: ${invalid.message}`);
    throw thrown;
  }

  /** Throws the failure that an earlier submit met, if any. */
  check(): void {
    if (this.#failed.error) throw this.#failed.error;
  }

  /** The failure after which nothing is done here any more. Waits for a moment: that a device is lost may be told late. */
  async failure(): Promise<DeviceError | undefined> {
    if (!this.#failed.error) await Promise.race([this.gpu.lost, new Promise((resolve) => setTimeout(resolve, 100))]);
    return this.#failed.error;
  }

  /** What to throw where something failed: that the device is lost or refused work, if that may be the reason. */
  async explain(error: unknown): Promise<unknown> {
    const typed = error instanceof DdimError && !(error instanceof DeviceError && error.reason === "validation");
    const failure = typed ? this.#failed.error : await this.failure();
    return failure && (failure.reason === "lost" || !typed) ? failure : error;
  }

  dispose(): void {
    this.#failed.disposed = true;
    for (const object of [...this.#sizes.keys()]) this.release(object);
    this.gpu.removeEventListener("uncapturederror", this.#onError);
    if (this.owned) this.gpu.destroy();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
