// Child process of adapter.mjs: opens Dawn in the environment that it was started with and prints the adapter's name.
// A process of its own because the Vulkan loader reads its environment once, and because a broken driver may crash.
import process from "node:process";
import { create, globals } from "webgpu";

Object.assign(globalThis, globals);
// Kept reachable: Dawn aborts the process when its instance is collected while in use.
const gpu = create([]);
Object.assign(globalThis, { gpu });
const adapter = await gpu.requestAdapter();
if (adapter) process.stdout.write(adapter.info.description || adapter.info.device || adapter.info.vendor || "unnamed");
process.exit(adapter ? 0 : 1);
