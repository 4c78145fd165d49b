/** `ddim bench kernels`. */
import type { Terminal } from "../../src/cli/io.ts";
import { table } from "../../src/cli/table.ts";
import { DdimError, UsageError } from "../../src/runtime/errors.ts";
import { caseName } from "../../test/cases.ts";
import { type CaseTable, caseTables, type StoredDType } from "../../test/support/problems.ts";
import { measureLimits } from "../limits.ts";
import { type LabResult, runLab, TOLERANCE } from "./lab.ts";
import { adapterOf, printed, sourcesOf } from "./source.ts";
import { namedTargets, parseTarget } from "./targets.ts";

export interface KernelFlags {
  op?: string;
  case?: number;
  variant?: string[];
  dtype: "auto" | StoredDType;
  device?: string;
  /** For how long all targets are timed; absent: 2. */
  seconds?: number;
  wgsl?: true;
  target?: string;
  matrices?: true;
  json?: true;
}

/** A list of what there is, for those who name no operation or no case. */
function listing(ops: readonly string[]): string {
  return ops
    .flatMap((op) => (caseTables[op]?.cases ?? []).map((it, i) => `--op ${op} --case ${i}  ${caseName(op, it)}`))
    .join("\n");
}

const rounded = (value: number | undefined, digits: number) => (value === undefined ? "-" : value.toFixed(digits));

function report(results: readonly LabResult[]): string[] {
  const cells = results.map((r) => [
    r.variant,
    r.kernels.join(" + "),
    r.nmse.toExponential(1),
    rounded(r.compileMs, 0),
    rounded(r.ms?.median, 3),
    r.ms ? `${r.ms.min.toFixed(3)}..${r.ms.p75.toFixed(3)}` : "wrong",
    rounded(r.gpuMs, 3),
    rounded(r.gflops, 1),
    rounded(r.gbytes, 2),
    r.roofline === undefined ? "-" : `${(100 * r.roofline).toFixed(0)} %`,
  ]);
  const head = "variant,kernels,NMSE,compile,ms,least..p75,GPU ms,GFLOP/s,GB/s,of roofline";
  return table(head.split(","), cells);
}

/** @throws UsageError for a flag of timing beside `--wgsl`, or one of `--wgsl` without it */
function checkTogether(flags: KernelFlags): void {
  const { wgsl, target, matrices, seconds, device } = flags;
  const given = Object.entries(wgsl ? { seconds, device } : { target, matrices });
  const [other] = given.find(([, value]) => value !== undefined) ?? [];
  if (other === undefined) return;
  const why = wgsl ? "--wgsl opens no device and times nothing" : "it goes with --wgsl";
  throw new UsageError(other, `--${other}: ${why}`);
}

/** Prints what a case compiles, dispatch by dispatch. */
function printSources(terminal: Terminal, flags: KernelFlags, table: CaseTable, shape: object, dtype: StoredDType) {
  const { op = "", target = "gpu", matrices = false } = flags;
  const adapter = { capabilities: adapterOf(target, matrices) };
  if (matrices && dtype !== "f16") throw new UsageError("matrices", "--matrices multiply f16: add --dtype f16");
  const targets = (flags.variant ?? ["own"]).map((text) => parseTarget(text, adapter));
  const dispatches = targets.flatMap((variant) => {
    const sources = sourcesOf(table.make(shape, variant.target, dtype), variant.target, dtype);
    return sources.map((source, i) => ({ variant: variant.name, place: `${i + 1} of ${sources.length}`, ...source }));
  });
  const name = `${caseName(op, shape)} ${dtype}`;
  if (flags.json)
    return terminal.json({
      case: name,
      target,
      dispatches: dispatches.map(({ place, ...dispatch }) => dispatch),
    });
  terminal.data(`// ${name} for --target ${target}${matrices ? " --matrices" : ""}`);
  for (const { variant, place, ...source } of dispatches)
    terminal.data(["", ...printed(source, `variant ${variant}, dispatch ${place}`)]);
}

export async function benchKernels(terminal: Terminal, flags: KernelFlags): Promise<void> {
  const { op, seconds = 2 } = flags;
  const ops = Object.keys(caseTables);
  const entry = op === undefined ? undefined : caseTables[op];
  if (op !== undefined && !entry)
    throw new UsageError("op", `--op ${op}: there is no such operation; there are ${ops.join(", ")}`);
  if (!(seconds > 0)) throw new UsageError("seconds", `--seconds must be above 0, got ${seconds}`);
  checkTogether(flags);
  if (flags.wgsl && (op === undefined || flags.case === undefined))
    throw new UsageError("wgsl", "--wgsl needs --op and --case; without --wgsl the command lists them");
  if (op === undefined || !entry || flags.case === undefined)
    return terminal.data(listing(op === undefined ? ops : [op]).split("\n"));
  const shape = entry.cases[flags.case];
  if (!shape) throw new UsageError("case", `--case ${flags.case}: ${op} has cases 0..${entry.cases.length - 1}`);
  const dtype = flags.dtype === "f16" ? "f16" : "f32";
  if (flags.wgsl) return printSources(terminal, flags, entry, shape, dtype);
  const { signal } = terminal.io;
  const device = await terminal.io.openDevice({ adapter: flags.device });
  try {
    const targets = flags.variant?.map((text) => parseTarget(text, device)) ?? namedTargets(device);
    const limits = await measureLimits(device);
    const onTarget = (name: string) => terminal.detail(`compiling ${name}`);
    const results = await runLab(device, { table: entry, shape, dtype, targets, limits, seconds, signal, onTarget });
    const name = `${caseName(op, shape)} ${dtype}`;
    if (flags.json) terminal.json({ case: name, adapter: device.name, limits, results });
    else {
      const { fma, copy } = limits;
      terminal.data(
        `${name} on ${device.name}: ${(fma / 1e9).toFixed(1)} GFLOP/s, ${(copy / 1e9).toFixed(1)} GB/s at best`,
      );
      terminal.data(report(results));
    }
    const wrong = results.filter(({ correct }) => !correct).map(({ variant }) => variant);
    if (wrong.length) throw new DdimError(`${name}: NMSE above ${TOLERANCE[dtype]} in ${wrong.join(", ")}`);
  } finally {
    device.dispose();
  }
}
