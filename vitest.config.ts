import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/support/adapter.ts"],
    // Processes, not threads: Dawn wants one instance per process, and a driver that crashes takes one file with it.
    pool: "forks",
    maxWorkers: 2,
    // A software adapter may spend seconds compiling a single pipeline.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
