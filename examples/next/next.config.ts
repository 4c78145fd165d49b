import type { NextConfig } from "next";

export default {
  // Loaded by Node as they are: Dawn is a native module, and the weights lie beside the package's code.
  serverExternalPackages: ["ddim-webgpu", "webgpu"],
} satisfies NextConfig;
