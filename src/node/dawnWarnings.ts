/**
 * Two lines about limits that Dawn lowers to its own, which it prints where a driver reports more than it can use, as
 * Mesa's do. Dawn has no switch for them: NormalizeLimits (src/dawn/native/Limits.cpp) writes to C's stderr when it first
 * looks at an adapter. They say nothing that a user could act on, so what is written to stderr during that call is kept
 * back, and written again without them.
 */
import { closeSync, fstatSync, readSync } from "node:fs";
import process from "node:process";

const LINES = /^Warning: maxDynamic(?:Uniform|Storage)BuffersPerPipelineLayout artificially reduced .*\n/gm;

const STDERR = 2;
/** Linux's numbers: a close-on-exec duplicate, and a file in memory that is closed on exec. */
const [F_DUPFD_CLOEXEC, MFD_CLOEXEC] = [1030, 1];

/** Functions of the C library that Node has not. */
interface Descriptors {
  /** A new file in memory. */
  memory(): number;
  duplicate(fd: number): number;
  /** Lets `onto` mean what `fd` means. */
  replace(fd: number, onto: number): number;
}

async function loadDescriptors(): Promise<Descriptors | undefined> {
  // Elsewhere Dawn is not asked for Vulkan's limits.
  if (process.platform !== "linux") return undefined;
  try {
    const { DataType, load, open } = await import("ffi-rs");
    // The program itself, which has its C library with it.
    const library = "ddim-webgpu-process";
    open({ library, path: "" });
    const call = (funcName: string, ...values: (number | string)[]): number =>
      load({
        library,
        funcName,
        retType: DataType.I32,
        paramsType: values.map((value) => (typeof value === "string" ? DataType.String : DataType.I32)),
        paramsValue: values,
      }) as number;
    return {
      memory: () => call("memfd_create", "stderr", MFD_CLOEXEC),
      duplicate: (fd) => call("fcntl", fd, F_DUPFD_CLOEXEC, STDERR + 1),
      replace: (fd, onto) => call("dup2", fd, onto),
    };
  } catch {
    // An optional package: without it the lines are seen.
    return undefined;
  }
}

let descriptors: Promise<Descriptors | undefined> | undefined;

/**
 * Calls a function of Dawn's that may print those lines before it returns. Whatever else is written to stderr meanwhile is
 * there afterwards, in its order.
 */
export async function withoutLimitLines<T>(call: () => Promise<T>): Promise<T> {
  descriptors ??= loadDescriptors();
  const own = await descriptors;
  if (!own) return call();
  const [kept, stderr] = [own.memory(), own.duplicate(STDERR)];
  try {
    if (kept < 0 || stderr < 0 || own.replace(kept, STDERR) < 0) return call();
    try {
      // No await: nothing of JavaScript runs before stderr is back.
      return call();
    } finally {
      own.replace(stderr, STDERR);
      const text = textOf(kept).replace(LINES, "");
      if (text !== "") process.stderr.write(text);
    }
  } finally {
    for (const fd of [kept, stderr]) if (fd >= 0) closeSync(fd);
  }
}

function textOf(fd: number): string {
  const bytes = new Uint8Array(fstatSync(fd).size);
  readSync(fd, bytes, 0, bytes.length, 0);
  return new TextDecoder().decode(bytes);
}
