import { defineConfig } from "vite";

// A worker that loads parts of itself when it needs them has to be a module.
export default defineConfig({ worker: { format: "es" } });
