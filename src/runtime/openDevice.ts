/** Opening devices: which adapter is asked for, with which features and limits; or a caller's device as it is. */
import { MATRICES } from "./capabilities.ts";
import { adapterName, Device } from "./device.ts";
import { DeviceError, UsageError } from "./errors.ts";
import { checkKind, checkOptions, type OptionNames } from "./options.ts";
import { said, shown } from "./printable.ts";

export interface DeviceOptions {
  /** Passed to requestAdapter. */
  powerPreference?: GPUPowerPreference;
}

const deviceNames: OptionNames<DeviceOptions> = { powerPreference: true };

const WANTED: readonly GPUFeatureName[] = ["subgroups", "timestamp-query", "shader-f16", MATRICES];

/** Limits that are raised to what the adapter has; everything else keeps the specification's defaults. */
const RAISED = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxTextureDimension2D",
  "maxStorageTexturesPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
] as const;

/** Wraps a caller's device: it is used as it is and never destroyed. */
export function wrapDevice(gpu: GPUDevice): Device {
  checkKind("wrapDevice", "gpu", "a GPUDevice", gpu);
  return new Device(gpu, gpu.adapterInfo, false);
}

/**
 * Opens a device on an adapter: limits raised to the adapter's own, optional features taken where they exist.
 * @throws DeviceError "unsupported" when the adapter refuses.
 */
export async function openAdapter(adapter: GPUAdapter): Promise<Device> {
  const requiredLimits = Object.fromEntries(RAISED.map((name) => [name, adapter.limits[name] as number]));
  const requiredFeatures = WANTED.filter((f) => adapter.features.has(f));
  try {
    return new Device(await adapter.requestDevice({ requiredFeatures, requiredLimits }), adapter.info, true);
  } catch (cause) {
    throw new DeviceError("unsupported", `adapter ${adapterName(adapter.info)} opens no device: ${said(cause)}`);
  }
}

/**
 * Asks a GPU object (`navigator.gpu`, or Dawn's in Node) for its best adapter and opens it; where there is none, for one
 * of the compatibility level (OpenGL ES 3.1, Direct3D 11).
 * @throws DeviceError "unsupported" when there is none.
 */
export async function openDevice(gpu: GPU | undefined, options: DeviceOptions = {}): Promise<Device> {
  checkOptions("openDevice", options, deviceNames);
  if (gpu !== undefined && gpu !== null) checkKind("openDevice", "gpu", "a GPU", gpu);
  const { powerPreference = "high-performance" } = options;
  const adapter =
    (await gpu?.requestAdapter({ powerPreference })) ??
    (await gpu?.requestAdapter({ powerPreference, featureLevel: "compatibility" }));
  if (!adapter)
    throw new DeviceError(
      "unsupported",
      gpu ? "no WebGPU adapter was found" : "this platform has no WebGPU",
      "run `ddim doctor` for advice, or use a browser with WebGPU enabled",
    );
  return openAdapter(adapter);
}

/**
 * The device to work on: ours as it is, a caller's GPUDevice wrapped, and without either one that `open` opens
 * (default: on `navigator.gpu`). Whatever is not the given object itself is the caller's of this function to dispose.
 */
export async function resolveDevice(
  given: GPUDevice | Device | undefined,
  open: () => Promise<Device> = () => openDevice(typeof navigator === "undefined" ? undefined : navigator.gpu),
): Promise<Device> {
  if (given instanceof Device) return given;
  if (given !== undefined && typeof Object(given).createBuffer !== "function")
    throw new UsageError("device", `device must be a GPUDevice, or one that openDevice gave, got ${shown(given)}`);
  return given ? wrapDevice(given) : open();
}
