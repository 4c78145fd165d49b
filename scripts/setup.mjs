// `npm run setup`: everything that the quick start needs, and with --tests what the tests need beyond it. What is there
// already is left alone.
import process from "node:process";
import { findAdapter } from "./adapter.mjs";
import { ensureChromium } from "./chromium.mjs";
import { ensureConsumers, ensurePackages, ensurePeers } from "./packages.mjs";
import { installSoftwareVulkan } from "./software-vulkan.mjs";

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);

try {
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new Error(`Node ${process.versions.node} is too old: 20.19 or newer is needed`);
  }
  ensurePackages();
  let adapter = findAdapter();
  if (!adapter) {
    installSoftwareVulkan();
    adapter = findAdapter();
    if (!adapter)
      throw new Error("software Vulkan is installed, but WebGPU still finds no adapter: see its messages above");
  }
  process.stderr.write(`WebGPU adapter: ${adapter.name}\n`);
  if (process.argv.includes("--tests")) {
    process.stderr.write(`Chromium: ${ensureChromium()}\n`);
    ensurePeers();
    ensureConsumers();
  }
} catch (error) {
  process.stderr.write(`setup: ${error instanceof Error ? error.message : error}\n`);
  process.exit(1);
}
