// `npm run limits`: the tests of everything that runs kernels, on devices of exactly the default limits of each of the
// specification's levels and without any feature (test/support/limits.ts). Arguments go to vitest.
import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const [given, tests] = [
  process.argv.slice(2),
  ["test/kernels", "test/sampler", "test/unet/forward", "test/unet/goldens", "test/autoencoder"],
];

const passed = ["core", "compatibility"].map((level) => {
  process.stderr.write(`the ${level} level's limits\n`);
  const args = ["node_modules/vitest/vitest.mjs", "run", "--passWithNoTests", ...(given.length > 0 ? given : tests)];
  const env = { ...process.env, DDIM_TEST_LIMITS: level };
  return spawnSync(process.execPath, args, { cwd: ROOT, env, stdio: "inherit" }).status === 0;
});
process.exit(passed.every(Boolean) ? 0 : 1);
