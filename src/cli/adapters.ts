/** Adapters in words, and what to do where there is none. */
import process from "node:process";
import { adapterName } from "../runtime/device.ts";
import { bytes } from "./table.ts";

/** Limits that decide what fits and which kernels run. */
const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxTextureDimension2D",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
] as const;

export interface AdapterReport {
  name: string;
  vendor: string;
  architecture: string;
  description: string;
  features: string[];
  limits: Record<string, number>;
}

export function describeAdapter({ info, features, limits }: GPUAdapter): AdapterReport {
  return {
    name: adapterName(info),
    vendor: info.vendor,
    architecture: info.architecture,
    description: info.description,
    features: [...features].sort(),
    limits: Object.fromEntries(LIMITS.map((limit) => [limit, limits[limit]])),
  };
}

export function printAdapter(index: number, adapter: AdapterReport): string[] {
  const { name, vendor, architecture, description, features, limits } = adapter;
  const about = [...new Set([vendor, architecture, description])].filter((text) => text && text !== name).join(", ");
  const shown = Object.entries(limits).map(([limit, value]) => {
    return `    ${limit}: ${limit.endsWith("Size") ? bytes(value) : value}`;
  });
  const head = `adapter ${index}: ${name}${about && ` (${about})`}`;
  return [head, `    features: ${features.join(", ")}`, ...shown];
}

export const ADVICE =
  process.platform === "linux"
    ? "install the GPU's Vulkan driver, or a software one: `npm run setup` in a checkout; or " +
      "`apt-get install mesa-vulkan-drivers libvulkan1` on Ubuntu and Debian (12: from bookworm-backports), " +
      "`dnf install mesa-vulkan-drivers vulkan-loader` on Fedora, `pacman -S vulkan-swrast vulkan-icd-loader` on Arch"
    : "update the system's graphics driver: WebGPU needs Metal on macOS and Direct3D 12 on Windows";
