/** What a device can do beside what every device can, as far as the choice of kernels depends on it. */
import type { MatrixTile } from "./contract.ts";

export interface Capabilities {
  /** A processor plays the GPU (llvmpipe, SwiftShader, WARP): other kernels win there. */
  software: boolean;
  /** Lanes of a subgroup when the adapter fixes them (min = max) and has the feature, otherwise 0. */
  subgroupSize: number;
  timestamps: boolean;
  /** Most threads of a workgroup: 128 on compatibility devices, 256 and more on others. */
  maxThreads: number;
  /** Most storage textures of a kernel, 0 where shaders cannot read them. */
  storageTextures: number;
  /** Most storage buffers of a kernel. */
  storageBuffers: number;
  /** What subgroups multiply in hardware; absent without the (experimental) feature or a fixed subgroup size. */
  matrix?: MatrixTile;
}

const isSoftware = (info: GPUAdapterInfo): boolean =>
  info.isFallbackAdapter === true ||
  info.architecture === "software" ||
  /llvmpipe|swiftshader|basic render/i.test(`${info.architecture} ${info.device} ${info.description}`);

/** Not in the specification yet, so without a type. */
export const MATRICES = "chromium-experimental-subgroup-matrix" as GPUFeatureName;

interface SubgroupMatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** The largest product of f16 with f32 sums whose sides divide the kernels' steps of 16. */
function matrixTile(configs: Iterable<SubgroupMatrixConfig>, lanes: number): MatrixTile | undefined {
  const [largest] = [...configs]
    .filter(({ componentType, resultComponentType }) => componentType === "f16" && resultComponentType === "f32")
    .filter(({ M, N, K }) => [M, N, K].every((side) => side >= 4 && 16 % side === 0))
    .sort((a, b) => b.M * b.N * b.K - a.M * a.N * a.K);
  return largest && lanes > 0 ? { m: largest.M, n: largest.N, k: largest.K, lanes } : undefined;
}

/** A page can ask what its WGSL offers; Dawn in Node reads storage textures. */
function readsStorageTextures(): boolean {
  const offered = typeof navigator === "undefined" ? undefined : navigator.gpu?.wgslLanguageFeatures;
  return offered?.has("readonly_and_readwrite_storage_textures") ?? true;
}

export function capabilitiesOf(gpu: GPUDevice, info: GPUAdapterInfo): Capabilities {
  const fixed = gpu.features.has("subgroups") && info.subgroupMinSize === info.subgroupMaxSize;
  const subgroupSize = fixed ? (info.subgroupMinSize ?? 0) : 0;
  const { subgroupMatrixConfigs = [] } = info as { subgroupMatrixConfigs?: Iterable<SubgroupMatrixConfig> };
  const usable = gpu.features.has(MATRICES) && gpu.features.has("shader-f16");
  return {
    software: isSoftware(info),
    subgroupSize,
    timestamps: gpu.features.has("timestamp-query"),
    maxThreads: Math.min(gpu.limits.maxComputeInvocationsPerWorkgroup, gpu.limits.maxComputeWorkgroupSizeX),
    storageTextures: readsStorageTextures() ? gpu.limits.maxStorageTexturesPerShaderStage : 0,
    storageBuffers: gpu.limits.maxStorageBuffersPerShaderStage,
    matrix: usable ? matrixTile(subgroupMatrixConfigs, subgroupSize) : undefined,
  };
}
