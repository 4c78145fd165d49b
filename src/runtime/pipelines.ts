/**
 * Compute pipelines by source. The same source is compiled once per device, also when two callers ask at the same time,
 * and compilation is asynchronous, so a network's kernels compile in parallel.
 */
import { DeviceError } from "./errors.ts";
import { compileFailure } from "./wgsl.ts";

/** What a binding is, enough to make the bind group layout without reflection. */
export type BindingKind =
  | "read-only-storage"
  | "storage"
  | "uniform"
  | "texture"
  | "load-rgba32float"
  | "load-rgba16float"
  | "store-rgba32float"
  | "store-rgba16float";

/** The layout of a storage texture; undefined for all other kinds. */
export function storageTexture(
  kind: BindingKind,
): Required<Pick<GPUStorageTextureBindingLayout, "access" | "format">> | undefined {
  const [verb, format] = kind.split("-") as [string, GPUTextureFormat];
  if (verb !== "load" && verb !== "store") return undefined;
  return { access: verb === "load" ? "read-only" : "write-only", format };
}

function layoutEntry(kind: BindingKind, binding: number): GPUBindGroupLayoutEntry {
  const entry = { binding, visibility: GPUShaderStage.COMPUTE };
  if (kind === "texture") return { ...entry, texture: { sampleType: "unfilterable-float" } };
  const texture = storageTexture(kind);
  if (texture) return { ...entry, storageTexture: texture };
  return { ...entry, buffer: { type: kind as GPUBufferBindingType } };
}

export class PipelineCache {
  readonly #layouts = new Map<string, GPUBindGroupLayout>();
  readonly #pipelines = new Map<string, Promise<GPUComputePipeline>>();

  constructor(private readonly gpu: GPUDevice) {}

  /** Number of distinct sources compiled or being compiled. */
  get size(): number {
    return this.#pipelines.size;
  }

  layout(kinds: readonly BindingKind[]): GPUBindGroupLayout {
    const key = kinds.join();
    let layout = this.#layouts.get(key);
    if (!layout) {
      layout = this.gpu.createBindGroupLayout({ label: key, entries: kinds.map(layoutEntry) });
      this.#layouts.set(key, layout);
    }
    return layout;
  }

  /**
   * The pipeline for a source whose entry point is `main`.
   * @throws DeviceError "validation" with the compiler's messages and an excerpt when the source is wrong.
   */
  get(label: string, source: string, kinds: readonly BindingKind[]): Promise<GPUComputePipeline> {
    const key = `${kinds.join()}\n${source}`;
    let pipeline = this.#pipelines.get(key);
    if (!pipeline) {
      pipeline = this.#compile(label, source, kinds);
      this.#pipelines.set(key, pipeline);
      pipeline.catch(() => this.#pipelines.delete(key));
    }
    return pipeline;
  }

  async #compile(label: string, code: string, kinds: readonly BindingKind[]): Promise<GPUComputePipeline> {
    this.gpu.pushErrorScope("validation");
    const module = this.gpu.createShaderModule({ label, code });
    const layout = this.gpu.createPipelineLayout({ label, bindGroupLayouts: [this.layout(kinds)] });
    const compiling = this.gpu.createComputePipelineAsync({ label, layout, compute: { module, entryPoint: "main" } });
    const scope = this.gpu.popErrorScope();
    const [outcome, info, error] = await Promise.all([
      compiling.then(
        (pipeline) => ({ pipeline, failure: undefined }),
        (failure: Error) => ({ pipeline: undefined, failure }),
      ),
      module.getCompilationInfo(),
      scope,
    ]);
    if (info.messages.some((m) => m.type === "error")) throw compileFailure(label, code, info.messages);
    if (outcome.pipeline && !error) return outcome.pipeline;
    const reason = error?.message ?? outcome.failure?.message ?? "no reason given";
    throw new DeviceError("validation", `internal: kernel ${label} makes no pipeline: ${reason}`);
  }
}
