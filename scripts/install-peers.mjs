// Installs what the tests and the benchmarks compare with (bench/peers). `npm test` does it by itself.
import process from "node:process";
import { ensurePeers } from "./packages.mjs";

try {
  ensurePeers();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
  process.exit(1);
}
