/** What Dawn says of the adapters, with and without the toggle that f16 needs on NVIDIA's drivers. */
import process from "node:process";
import { create, globals } from "webgpu";
import { tell } from "./stage.ts";

Object.assign(globalThis, globals);
const WANTED = ["shader-f16", "subgroups", "timestamp-query", "chromium-experimental-subgroup-matrix"];
/** Node aborts once one is collected. */
const instances: GPU[] = [];
let found = false;
for (const toggles of ["allow_unsafe_apis", "allow_unsafe_apis,vulkan_enable_f16_on_nvidia"]) {
  const gpu = create([`enable-dawn-features=${toggles}`]);
  instances.push(gpu);
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) {
    tell({ toggles, error: "no adapter" }, `no adapter with ${toggles}`);
    continue;
  }
  found = true;
  const { vendor, architecture, device, description, subgroupMinSize, subgroupMaxSize, ...rest } = adapter.info;
  const { subgroupMatrixConfigs = [] } = rest as { subgroupMatrixConfigs?: Iterable<Record<string, unknown>> };
  const matrices = [...subgroupMatrixConfigs].map(
    (it) => `${it.M}x${it.N}x${it.K} ${it.componentType}->${it.resultComponentType}`,
  );
  const limits: Record<string, number> = {};
  for (const key in adapter.limits) limits[key] = adapter.limits[key as keyof GPUSupportedLimits] as number;
  const features = [...adapter.features].sort();
  const named = { vendor, architecture, device, description, subgroupMinSize, subgroupMaxSize };
  tell(
    { toggles, ...named, features, matrices, limits },
    `${description || device} with ${toggles}: ${WANTED.map((f) => (features.includes(f) ? f : `NO ${f}`)).join(", ")}; ` +
      `subgroups of ${subgroupMinSize}..${subgroupMaxSize}; matrices ${matrices.join(", ") || "none"}; ` +
      `${limits.maxComputeWorkgroupStorageSize} bytes of workgroup memory`,
  );
}
process.exit(found ? 0 : 1);
