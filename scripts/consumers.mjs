// `npm run consumers`: the package as others use it: packed and installed, in pages, in frameworks, in TypeScript's versions, in
// Deno and Bun; these with all goldens, of which `npm test` takes one.
import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { ensureConsumers } from "./packages.mjs";

ensureConsumers();
const { status } = spawnSync(process.execPath, ["node_modules/vitest/vitest.mjs", "run", "test/consumers"], {
  cwd: fileURLToPath(new URL("..", import.meta.url)),
  env: { ...process.env, DDIM_TEST_GOLDENS: "all" },
  stdio: "inherit",
});
process.exit(status ?? 1);
