/** What somebody has who installs the tarball in an empty folder: README's lines for Node, types, and what linters of packages say. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, it, test } from "vitest";
import { readPng } from "../../src/node/png.ts";
import { type Installed, installPackage, NO_NETWORK, node, PEERS, withoutPeers } from "./installed.ts";

let installed: Installed;
beforeAll(async () => {
  installed = (await installPackage()) as Installed;
});
beforeEach(({ skip }) => skip(!installed, NO_NETWORK));
afterAll(() => installed?.[Symbol.dispose]());

const CODE = `
import { loadPipeline, makeSchedule, openDevice, sample, type Device, type DiffusionPipeline } from "ddim-webgpu";
import { compileGraph, defineKernel } from "ddim-webgpu/kernels";
import { encodePng, openNodeDevice } from "ddim-webgpu/node";
export async function picture(device: GPUDevice): Promise<Uint8Array> {
  using pipe: DiffusionPipeline = await loadPipeline("model", { device, signal: AbortSignal.timeout(5) });
  const { images } = await pipe.generate({ count: 1 });
  return encodePng(images[0]!);
}
export const limits = (device: Device): GPUSupportedLimits => device.gpu.limits;
export const others = [makeSchedule, openDevice, openNodeDevice, sample, defineKernel, compileGraph];
// @ts-expect-error the declarations are read, not taken for any
export const wrong: number = makeSchedule({ steps: 10 });
`;

test("README's lines for Node make a sheet of sixteen faces", async () => {
  const readme = readFileSync("README.md", "utf8");
  const code = readFileSync("examples/node/index.js", "utf8");
  expect(readme).toContain(`\`\`\`js\n${code}\`\`\``);
  const { folder } = installed;
  writeFileSync(join(folder, "faces.js"), code);
  await node(folder, "faces.js");
  expect(await readPng(join(folder, "faces.png"))).toMatchObject({ width: 4 * 16 + 6, height: 4 * 16 + 6 });
});

test("the example with samplers of its own makes a sheet by each of them", async () => {
  const { folder } = installed;
  for (const name of ["rules.js", "sample.js"])
    writeFileSync(join(folder, name), readFileSync(`examples/own-sampler/${name}`, "utf8"));
  await node(folder, "sample.js");
  for (const name of ["ddim", "euler", "heun"])
    expect(await readPng(join(folder, `${name}.png`))).toMatchObject({ width: 4 * 16 + 6, height: 4 * 16 + 6 });
});

test("the example with a network of its own finds the edges of a disc", async () => {
  const { folder } = installed;
  writeFileSync(join(folder, "edges.js"), readFileSync("examples/own-network/edges.js", "utf8"));
  const { stdout } = await node(folder, "edges.js");
  const lines = stdout.trim().split("\n");
  expect(lines).toHaveLength(16);
  expect([lines[0], lines[2], lines[7]]).toEqual(["................", ".....######.....", "..##........##.."]);
});

test("the examples name the tarball, and the versions that they are tested with", () => {
  const read = (file: string) => JSON.parse(readFileSync(file, "utf8"));
  const own = read("package.json");
  const versions = { ...own.optionalDependencies, ...own.devDependencies };
  const { dependencies: peers } = read("test/consumers/package.json");
  const installed = (name: string): string =>
    name === own.name ? `file:../../${name}-${own.version}.tgz` : name in peers ? `^${peers[name]}` : versions[name];
  const examples = readdirSync("examples").filter((name) => existsSync(`examples/${name}/package.json`));
  expect(examples.length).toBeGreaterThanOrEqual(5);
  for (const name of examples) {
    const { dependencies, devDependencies } = read(`examples/${name}/package.json`);
    const named = { ...dependencies, ...devDependencies };
    const right = Object.fromEntries(Object.keys(named).map((name) => [name, installed(name)]));
    expect({ [name]: named }).toEqual({ [name]: right });
  }
});

test.each(["useDiffusion.ts", "Picture.tsx"])("Next's %s is React's", (file) => {
  const of = (folder: string) => readFileSync(`examples/${folder}/${file}`, "utf8");
  expect(of("next/app")).toBe(of("vite-react/src"));
});

describe.skipIf(withoutPeers)("with the peers", () => {
  const compilers = ["typescript-5.7", "typescript-5.8", "typescript", "typescript-6", "typescript-7"];
  const settings = [
    ["as Node resolves, without types of its own", { module: "nodenext", lib: ["ES2023", "DOM"], types: [] }],
    ["as bundlers resolve, with the default library", { module: "esnext", moduleResolution: "bundler" }],
  ] as const;
  const cases = compilers.flatMap((compiler) => settings.map((setting) => [compiler, ...setting] as const));

  it.each(cases)("%s compiles strictly, %s", async (compiler, _, options) => {
    const { folder } = installed;
    const compilerOptions = { target: "es2022", strict: true, noEmit: true, skipLibCheck: false, ...options };
    writeFileSync(join(folder, "index.ts"), CODE);
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["index.ts"] }));
    const { stdout } = await node(folder, join(PEERS, compiler, "bin/tsc"), "-p", ".");
    expect(stdout).toBe("");
  });

  it("publint finds nothing", async () => {
    const { publint } = await import(pathToFileURL(join(PEERS, "publint/src/index-node.js")).href);
    const { messages } = await publint({ pkgDir: installed.root, pack: false });
    expect(messages).toEqual([]);
  });

  it("attw finds no wrong type", async () => {
    const { folder, tarball } = installed;
    // There is no CommonJS here, and Node 10 knows no exports. A problem is its exit status.
    const attw = join(PEERS, "@arethetypeswrong/cli/dist/index.js");
    const { stdout } = await node(folder, attw, tarball, "--profile", "esm-only");
    expect(stdout).toContain('"ddim-webgpu/node"');
  });
});
