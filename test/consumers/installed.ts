// The package as npm packs and installs it, for tests that use it as others do.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { onTestFinished } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** TypeScript's versions, bundlers, frameworks: what the setup installs for these tests. */
export const PEERS = fileURLToPath(new URL("node_modules/", import.meta.url));

/** Whether tests that need them are left out: they could not be installed, which the setup has said. In CI they fail. */
export const withoutPeers = !process.env.CI && !existsSync(join(PEERS, ".package-lock.json"));

/** Codes by which npm says that there is no network. */
const UNREACHED = /npm error code (ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ENOTCACHED)/;
export const NO_NETWORK = "left out: the registry is not reached, and npm's cache lacks what the package depends on";

/** To be disposed: the folder goes. */
export interface Installed extends Disposable {
  /** Empty but for package.json and `node_modules`, with Dawn. */
  readonly folder: string;
  readonly tarball: string;
  /** The package in it. */
  readonly root: string;
}

/**
 * Packs, and installs the tarball in an empty folder without running any script; what it depends on comes from npm's cache
 * where it is there.
 * @returns undefined where the registry is not reached and this is not CI: what needs it is left out
 */
export async function installPackage(): Promise<Installed | undefined> {
  const folder = mkdtempSync(join(tmpdir(), "ddim-installed-"));
  await npm(ROOT, "pack", "--ignore-scripts", "--pack-destination", folder);
  const tarball = join(folder, readdirSync(folder)[0] as string);
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, type: "module" }));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  try {
    await npm(folder, "install", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", tarball, "webgpu");
  } catch (error) {
    remove();
    if (process.env.CI || !UNREACHED.test(String(error))) throw error;
    return undefined;
  }
  return { folder, tarball, root: join(folder, "node_modules/ddim-webgpu"), [Symbol.dispose]: remove };
}

/**
 * A copy of an example with the installed package, below the peers, where Node and bundlers look for the others that it
 * names. It goes when the test has ended.
 * @returns its path
 */
export function copyExample(name: string, { root }: Installed): string {
  const copies = fileURLToPath(new URL(".scratch", import.meta.url));
  mkdirSync(copies, { recursive: true });
  const copy = mkdtempSync(join(copies, `${name}-`));
  onTestFinished(() => rmSync(copy, { recursive: true, force: true, maxRetries: 5 }));
  cpSync(fileURLToPath(new URL(`../../examples/${name}`, import.meta.url)), copy, { recursive: true });
  cpSync(root, join(copy, "node_modules/ddim-webgpu"), { recursive: true });
  return copy;
}

/** @returns what a command prints; its failure has that, too */
export async function run(cwd: string, command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const options = { cwd, maxBuffer: 2 ** 26, env: { ...process.env, NO_COLOR: "1", ...env } };
  try {
    const { stdout, stderr } = await promisify(execFile)(command, args, options);
    return { stdout, stderr };
  } catch (error) {
    const { stdout, stderr, message } = error as Error & { stdout?: string; stderr?: string };
    throw new Error([message, stdout, stderr].join("\n"));
  }
}

export const node = (cwd: string, ...args: string[]) => run(cwd, process.execPath, args);

/** npm as whoever started these tests has it. */
export function npm(cwd: string, ...args: string[]) {
  const self = process.env.npm_execpath;
  return self ? node(cwd, self, ...args) : run(cwd, "npm", args);
}

/**
 * A development server or such, until it says where it listens.
 * @param script of Node's, with its arguments
 */
export async function startServer(
  cwd: string,
  script: string,
  ...args: string[]
): Promise<{ origin: string } & AsyncDisposable> {
  const env = { ...process.env, NO_COLOR: "1", NEXT_TELEMETRY_DISABLED: "1" };
  const child = spawn(process.execPath, [script, ...args], { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  const origin = await new Promise<string>((resolve, reject) => {
    const hear = (chunk: Buffer) => {
      output += chunk;
      const [address] = /http:\/\/(localhost|127\.0\.0\.1):\d+/.exec(output) ?? [];
      if (address) resolve(address);
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.on("exit", (code) => reject(new Error(`${script} ended with ${code}:\n${output}`)));
  });
  return {
    origin,
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || !child.kill()) return;
      await once(child, "exit");
    },
  };
}
