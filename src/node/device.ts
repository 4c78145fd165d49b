/**
 * WebGPU in Node: Dawn, from the npm package `webgpu`. One Dawn instance serves the whole process; its object is kept
 * for good, because Node aborts once it is collected.
 */
import { existsSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import type { create as CreateGpu } from "webgpu";
import { adapterName, type Device } from "../runtime/device.ts";
import { DeviceError, UsageError } from "../runtime/errors.ts";
import { openAdapter } from "../runtime/openDevice.ts";
import { checkOptions, type OptionNames } from "../runtime/options.ts";
import { withoutLimitLines } from "./dawnWarnings.ts";

export interface NodeDeviceOptions {
  /** Part of an adapter's name, or its index in {@link listAdapters}. Default: the best. */
  adapter?: string;
  /**
   * Release settings: no validation, no robustness checks, no clearing of fresh memory, exact timestamps. They hide
   * mistakes such as aliased bindings, so tests and `doctor` run without them. Default true.
   */
  fast?: boolean;
  /**
   * Asks Dawn for its experimental features, which subgroup matrices are: convolutions of networks in f16 use them where
   * the adapter has them. Default: `loadPipeline` asks when the network is to be f16, `openNodeDevice` does not.
   */
  matrices?: boolean;
  /**
   * Threads of Mesa's software adapter beside the one that takes its commands; with 0, small networks are quicker one
   * image at a time. Only the first device of a process has a say, and `LP_NUM_THREADS` more than that. Default: one per
   * core.
   */
  threads?: number;
}

export const nodeDeviceNames: OptionNames<NodeDeviceOptions> = {
  adapter: true,
  fast: true,
  matrices: true,
  threads: true,
};

/** What onnxruntime's native WebGPU provider sets as well. */
const FAST = ["skip_validation", "disable_robustness"];
const FAST_OFF = ["timestamp_quantization", "lazy_clear_resource_on_first_use"];
const VALIDATED_OFF = ["timestamp_quantization"];
/** Experimental features, subgroup matrices among them. */
const EXPERIMENTAL = ["allow_unsafe_apis"];

function toggles(on: readonly string[], off: readonly string[]): string[] {
  const enabled = on.length > 0 ? [`enable-dawn-features=${on.join()}`] : [];
  return [...enabled, `disable-dawn-features=${off.join()}`];
}

const VALIDATED = toggles([], VALIDATED_OFF);

const instances = new Map<string, GPU>();
/** Of which a driver was asked that has no adapter. */
const retired: GPU[] = [];
/** Callers look one after the other: the first may find that another driver is needed. */
let looked: Promise<unknown> = Promise.resolve();

/** Points the Vulkan loader at Mesa's software driver where the plain environment shows no adapter. */
function useSoftwareDriver(): boolean {
  if (process.platform !== "linux" || process.env.VK_ICD_FILENAMES || process.env.VK_DRIVER_FILES) return false;
  const folder = "/usr/share/vulkan/icd.d";
  const driver = existsSync(folder) && readdirSync(folder).find((file) => /^lvp_icd(\.\w+)?\.json$/.test(file));
  if (!driver) return false;
  process.env.VK_ICD_FILENAMES = `${folder}/${driver}`;
  const runtime = process.env.XDG_RUNTIME_DIR;
  if (!runtime || !existsSync(runtime)) process.env.XDG_RUNTIME_DIR = tmpdir();
  return true;
}

/** The command line where neither package is installed. `webgpu` is no dependency: pages have no use for its 130 MB. */
export const WITH_GPU = "npx -p ddim-webgpu -p webgpu ddim";

async function loadDawn(): Promise<{ create: typeof CreateGpu; globals: object }> {
  try {
    return await import("webgpu");
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const missing = code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND";
    throw new DeviceError(
      "unsupported",
      missing
        ? "the npm package webgpu, which is the GPU in Node, is not installed"
        : `the npm package webgpu does not load: ${message.split("\n")[0]}`,
      missing ? `install it beside ddim-webgpu with \`npm install webgpu\`, or run \`${WITH_GPU} …\`` : undefined,
      { cause },
    );
  }
}

/** The process's GPU object for some Dawn settings; also defines the WebGPU globals (GPUBufferUsage and so on). */
async function dawn(flags: readonly string[]): Promise<GPU> {
  const { create, globals } = await loadDawn();
  const key = flags.join(" ");
  let gpu = instances.get(key);
  if (!gpu) {
    Object.assign(globalThis, globals);
    gpu = create([...flags]);
    instances.set(key, gpu);
  }
  return gpu;
}

/** The adapters of a level by every preference, best first. */
async function adaptersOf(gpu: GPU, featureLevel: "core" | "compatibility"): Promise<GPUAdapter[]> {
  const found = new Map<string, GPUAdapter>();
  for (const powerPreference of ["high-performance", "low-power"] as const) {
    const adapter = await withoutLimitLines(() => gpu.requestAdapter({ powerPreference, featureLevel }));
    if (adapter && !found.has(adapterName(adapter.info))) found.set(adapterName(adapter.info), adapter);
  }
  return [...found.values()];
}

/**
 * Every adapter that Dawn offers by some preference, best first; where there is none, those of the compatibility level
 * (OpenGL ES).
 */
export function listAdapters(flags: readonly string[] = VALIDATED): Promise<GPUAdapter[]> {
  const listed = looked.then(() => look(flags));
  looked = listed.catch(() => {});
  return listed;
}

async function look(flags: readonly string[]): Promise<GPUAdapter[]> {
  const gpu = await dawn(flags);
  const found = await adaptersOf(gpu, "core");
  if (found.length > 0) return found;
  if (!useSoftwareDriver()) return adaptersOf(gpu, "compatibility");
  retired.push(gpu);
  instances.delete(flags.join(" "));
  return look(flags);
}

async function chooseAdapter(flags: readonly string[], wanted: string | undefined): Promise<GPUAdapter> {
  const adapters = await listAdapters(flags);
  const first = adapters[0];
  if (!first)
    throw new DeviceError(
      "unsupported",
      "no WebGPU adapter was found on this machine",
      "run `npm run setup`, or `ddim doctor` for advice",
    );
  if (wanted === undefined) return first;
  const byIndex = /^\d+$/.test(wanted) ? adapters[Number(wanted)] : undefined;
  const byName = adapters.find((a) => adapterName(a.info).toLowerCase().includes(wanted.toLowerCase()));
  // Dawn lists one adapter per power preference; a name may still select a further one.
  const further = async () =>
    dawn([...flags, `adapter=${wanted}`])
      .then((gpu) => withoutLimitLines(() => gpu.requestAdapter()))
      .catch(() => null);
  const chosen = byIndex ?? byName ?? (await further());
  if (chosen) return chosen;
  const known = adapters.map((a, i) => `${i}: ${adapterName(a.info)}`).join(", ");
  throw new UsageError("device", `--device ${wanted} matches no adapter; there is ${known}`);
}

/**
 * Opens a GPU device in Node. The caller disposes it.
 * @throws DeviceError "unsupported" without an adapter; UsageError when `adapter` matches none
 */
export async function openNodeDevice(options: NodeDeviceOptions = {}): Promise<Device> {
  checkOptions("openNodeDevice", options, nodeDeviceNames);
  const { adapter, fast = true, matrices = false, threads } = options;
  if (threads !== undefined) process.env.LP_NUM_THREADS ??= String(threads);
  const on = [...(fast ? FAST : []), ...(matrices ? EXPERIMENTAL : [])];
  return openAdapter(await chooseAdapter(toggles(on, fast ? FAST_OFF : VALIDATED_OFF), adapter));
}
