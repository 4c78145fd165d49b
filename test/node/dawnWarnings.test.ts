/** What native code writes to stderr: Dawn's lines about its limits are not there, everything else is. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";

const scratch = mkdtempSync(join(tmpdir(), "ddim-stderr-"));
const library = join(import.meta.dirname, "../../src/node/index.ts");
const stub = join(import.meta.dirname, "../../bin/ddim.js");

const SAMPLE = [stub, "sample", "-S", "1", "--seed", "1", "--overwrite", "-o", join(scratch, "x.png")];

test("neither line appears on stderr of ddim, through a pipe or in a file", () => {
  const piped = spawnSync(process.execPath, SAMPLE, { encoding: "utf8" });
  expect(piped.status, piped.stderr).toBe(0);
  expect(piped.stderr).toMatch(/x\.png: 1 image of 16 x 16, in .*\nseed 1, 1 step/);
  expect(piped.stderr).not.toContain("maxDynamic");
  const path = join(scratch, "log.txt");
  writeFileSync(path, "before\n");
  const file = openSync(path, "a");
  expect(spawnSync(process.execPath, SAMPLE, { stdio: ["ignore", "ignore", file] }).status).toBe(0);
  expect(readFileSync(path, "utf8")).toMatch(/^before\n(?!.*maxDynamic)[\s\S]*seed 1, 1 step/);
});

test("nor on that of a script that imports the library, whose other output stays, in its order", () => {
  const script = `
    import { writeSync } from "node:fs";
    import { openNodeDevice } from ${JSON.stringify(library)};
    import { create } from "webgpu";
    // What native code would write meanwhile.
    const gpu = create([]);
    const prototype = Object.getPrototypeOf(gpu);
    const { requestAdapter } = prototype;
    prototype.requestAdapter = function (...options) {
      writeSync(2, "a driver says something\\n");
      return requestAdapter.apply(this, options);
    };
    process.stderr.write("first\\n");
    const device = await openNodeDevice();
    process.stderr.write("opened\\n");
    device.dispose();
    process.exit(0);
  `;
  const { status, stderr } = spawnSync(
    process.execPath,
    ["--import", "./scripts/sources.mjs", "--input-type=module", "-e", script],
    {
      encoding: "utf8",
      cwd: join(import.meta.dirname, "../.."),
    },
  );
  expect(status, stderr).toBe(0);
  expect(stderr).toBe("first\na driver says something\na driver says something\nopened\n");
});
