/** llvmpipe with vectors of 16 lanes, whose texture loads are wrong: networks have to be right there all the same. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { nmse } from "../reference/tensor.ts";
import { scratchFolder } from "../support/cli.ts";
import { goldenPath, readTensors } from "../support/models.ts";

const BIN = fileURLToPath(new URL("../../bin/ddim.js", import.meta.url));
const scratch = scratchFolder();

it("evaluates a golden network", async () => {
  const model = goldenPath("models/ddpm");
  const [given, result] = [`${model}/io.safetensors`, join(scratch, "output.safetensors")];
  // The driver reads the variable when it is loaded, hence a process of its own.
  const env = { ...process.env, LP_NATIVE_VECTOR_WIDTH: "512" };
  const args = [BIN, "forward", "-m", model, "--input", given, "-o", result];
  await promisify(execFile)(process.execPath, args, { env });
  const [expected, actual] = [await readTensors(given), await readTensors(result)];
  expect(nmse(actual.output?.data ?? [], expected.output?.data ?? [1])).toBeLessThanOrEqual(1e-10);
});
