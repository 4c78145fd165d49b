/**
 * Engines run in processes of their own that stay alive and take commands, one JSON object per line, so that their turns
 * can alternate: two Dawn instances in one process crash, and so do two sessions of onnxruntime's WebGPU provider at once.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import type { KernelTiming, KernelTotal } from "../../src/runtime/profiler.ts";
import type { Dtype, EngineName, Limits } from "../results.ts";
import type { KernelSpec } from "./kernelGraph.ts";

/** Where a network comes from: a folder, with weights of its own or made from a seed. */
export interface ModelRef {
  readonly folder: string;
  readonly randomWeights?: number;
}

/** One step of DDIM with eta 0, for engines whose loop runs on the host. */
export interface LoopStep {
  readonly t: number;
  readonly alpha: number;
  readonly alphaPrev: number;
}

/** What an engine shall get ready to run. Engines take of it what they need. */
export interface Job {
  readonly kind: "network" | "kernel" | "sampler";
  readonly dtype: Dtype;
  /** safetensors: the inputs by their names in the ONNX file. */
  readonly inputs: string;
  /** The same network for engines that read ONNX. */
  readonly onnx?: string;
  readonly model?: ModelRef;
  /** For PyTorch: a network's folder as diffusers reads it, or the parameters of an operation. */
  readonly weights?: string;
  readonly kernel?: KernelSpec;
  readonly loop?: {
    readonly steps: readonly LoopStep[];
    readonly prediction: "epsilon" | "v_prediction" | "sample";
    readonly clip: number | null;
  };
}

export interface EngineHello {
  readonly version: string;
  readonly settings: Readonly<Record<string, string | number | boolean>>;
  /** Of ours: the adapter, and what a process has to be started with to see the same one. */
  readonly adapter?: { name: string; vendor: string; driver: string; software: boolean };
  readonly env?: Readonly<Record<string, string>>;
}

/** host: from arrays in memory to arrays in memory. device: without upload and read-back, where an engine can. */
export type RunMode = "host" | "device";

/** A job that our engine holds, ready to run. */
export interface OpenJob {
  readonly modes: readonly RunMode[];
  /** Milliseconds of one run, of so many one after another. */
  run(times: number, mode: RunMode): Promise<number>;
  /** Of one run, as the ONNX file of the job orders it. */
  output(): Promise<Float32Array>;
  profile?(): Promise<KernelTiming[]>;
  dispose(): Promise<void>;
}

export interface EngineStats {
  readonly peakHostBytes?: number;
  readonly peakGpuBytes?: number;
}

/** What commands take and give. */
export interface Commands {
  hello: { args: object; result: EngineHello };
  open: { args: { job: Job }; result: { modes: readonly RunMode[]; ms: number } };
  /** Milliseconds of one run, of so many one after another. */
  run: { args: { times: number; mode: RunMode }; result: { ms: number } };
  /** Writes the result of one run to a file: f32, little endian, N x C x H x W. */
  output: { args: { path: string }; result: object };
  profile: { args: object; result: { kernels: readonly KernelTotal[] | null } };
  limits: { args: object; result: Limits };
  close: { args: object; result: object };
  stats: { args: object; result: EngineStats };
}
export type Command = keyof Commands;

export class EngineError extends Error {
  override name = "EngineError";
}

export interface EngineCommandLine {
  readonly file: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

const GRACE_MS = 2000;

/** The last lines an engine wrote to stderr, for its obituary. */
const STDERR_BYTES = 2000;

export class EngineProcess {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  #next = 0;
  #stderr = "";
  #ended?: EngineError;

  constructor(
    readonly engine: EngineName,
    { file, args, env }: EngineCommandLine,
  ) {
    this.#child = spawn(file, args, { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, ...env } });
    this.#child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_BYTES);
    });
    this.#child.stdin.on("error", () => {});
    this.#child.on("error", (error) => this.#end(error.message));
    this.#child.on("close", (code, signal) => this.#end(signal ? `killed by ${signal}` : `exit code ${code}`));
    createInterface({ input: this.#child.stdout }).on("line", (line) => this.#answer(line));
  }

  #answer(line: string): void {
    let message: { id?: number; result?: never; error?: string };
    try {
      message = JSON.parse(line);
    } catch {
      // Libraries print as they like; whoever waits is told by the process's end.
      return;
    }
    const waiting = this.#waiting.get(message.id ?? -1);
    if (!waiting) return;
    this.#waiting.delete(message.id as number);
    if (message.error === undefined) waiting.resolve(message.result as never);
    else waiting.reject(new EngineError(message.error));
  }

  #end(how: string): void {
    const last = this.#stderr
      .trim()
      .split("\n")
      .filter((line) => line && !line.startsWith("Warning: "))
      .at(-1);
    this.#ended ??= new EngineError(`${this.engine} ended (${how})${last ? `: ${last.slice(0, 300)}` : ""}`);
    for (const { reject } of this.#waiting.values()) reject(this.#ended);
    this.#waiting.clear();
  }

  /** @throws EngineError when the engine cannot, has ended, or takes longer than `timeoutMs` (it is ended then) */
  async call<C extends Command>(
    command: C,
    args: Commands[C]["args"],
    timeoutMs = 600_000,
  ): Promise<Commands[C]["result"]> {
    if (this.#ended) throw this.#ended;
    const id = this.#next++;
    const reply = new Promise<Commands[C]["result"]>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
    });
    this.#child.stdin.write(`${JSON.stringify({ id, command, ...args })}\n`);
    const timer = setTimeout(() => {
      this.#end(`no answer to ${command} in ${Math.round(timeoutMs / 1000)} s`);
      this.#child.kill("SIGKILL");
    }, timeoutMs);
    try {
      return await reply;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Engines end when nothing more can come; those that do not, because Dawn keeps processes alive, are ended. */
  kill(): void {
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), GRACE_MS).unref();
    this.#child.once("close", () => clearTimeout(timer));
  }
}

type Handlers = { [C in Command]?: (args: Commands[C]["args"]) => Promise<Commands[C]["result"]> };

/** The other end: answers commands, one after the other, until stdin closes. */
export async function serve(handlers: Handlers, input: Readable, write: (line: string) => void): Promise<void> {
  for await (const line of createInterface({ input })) {
    const { id, command, ...args } = JSON.parse(line) as { id: number; command: Command };
    try {
      const handler = handlers[command] as ((args: object) => Promise<object>) | undefined;
      if (!handler) throw new EngineError(`knows no command ${command}`);
      write(JSON.stringify({ id, result: await handler(args) }));
    } catch (error) {
      write(JSON.stringify({ id, error: error instanceof Error ? error.message : String(error) }));
    }
  }
}
