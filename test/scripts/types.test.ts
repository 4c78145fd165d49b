/** The packed declarations in somebody else's strict project, without `skipLibCheck`. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ensureBuild } from "../../scripts/build.mjs";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const TSC = join(ROOT, "node_modules/typescript/lib/tsc.js");
let project: string;

const CODE = `
import { loadPipeline, makeSchedule, openDevice, sample, type Device, type DiffusionPipeline } from "ddim-webgpu";
import { defineKernel } from "ddim-webgpu/kernels";
import { encodePng, openNodeDevice } from "ddim-webgpu/node";
export async function picture(device: GPUDevice): Promise<Uint8Array> {
  using pipe: DiffusionPipeline = await loadPipeline("model", { device, signal: AbortSignal.timeout(5) });
  const { images } = await pipe.generate({ count: 1 });
  return encodePng(images[0]!);
}
export const limits = (device: Device): GPUSupportedLimits => device.gpu.limits;
export const others = [makeSchedule, openDevice, openNodeDevice, sample, defineKernel];
// @ts-expect-error the declarations are read, not taken for any
export const wrong: number = makeSchedule({ steps: 10 });
`;

beforeAll(async () => {
  await ensureBuild();
  project = mkdtempSync(join(tmpdir(), "ddim-types-"));
  const pack = ["pack", "--silent", "--ignore-scripts", "--pack-destination", project];
  const [file = ""] = execFileSync("npm", pack, { cwd: ROOT, encoding: "utf8" }).trim().split("\n");
  const installed = join(project, "node_modules/ddim-webgpu");
  mkdirSync(installed, { recursive: true });
  execFileSync("tar", ["xzf", join(project, file), "-C", installed, "--strip-components=1"]);
  // Installed as npm would: what `dependencies` names, and nothing that serves development.
  for (const name of ["@webgpu/types", "wgsl-preprocessor"]) {
    mkdirSync(dirname(join(project, "node_modules", name)), { recursive: true });
    symlinkSync(join(ROOT, "node_modules", name), join(project, "node_modules", name), "junction");
  }
  writeFileSync(join(project, "package.json"), JSON.stringify({ type: "module" }));
  writeFileSync(join(project, "index.ts"), CODE);
});
afterAll(() => rmSync(project, { recursive: true, force: true }));

it.each([
  ["as Node resolves, without types of its own", { module: "nodenext", lib: ["ES2023", "DOM"], types: [] }],
  ["as bundlers resolve, with the default library", { module: "esnext", moduleResolution: "bundler" }],
])("compile %s", (_, options) => {
  const compilerOptions = { target: "es2022", strict: true, noEmit: true, skipLibCheck: false, ...options };
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["index.ts"] }));
  let output = "";
  try {
    execFileSync(process.execPath, [TSC, "-p", "."], { cwd: project, encoding: "utf8" });
  } catch (error) {
    output = (error as { stdout: string }).stdout;
  }
  expect(output).toBe("");
});
