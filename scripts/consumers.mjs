// `npm run consumers`: the package in Deno and Bun, with all goldens; `npm test` takes one.
import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { ensureRuntimes } from "./packages.mjs";

ensureRuntimes();
const { status } = spawnSync(process.execPath, ["node_modules/vitest/vitest.mjs", "run", "test/consumers"], {
  cwd: fileURLToPath(new URL("..", import.meta.url)),
  env: { ...process.env, DDIM_TEST_GOLDENS: "all" },
  stdio: "inherit",
});
process.exit(status ?? 1);
