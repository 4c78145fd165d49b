/** `ddim bench`: timings. `forward` is in every installation; the others are loaded from a checkout's bench folder. */
import type { Command } from "commander";
import { UsageError } from "../../runtime/errors.ts";
import { type BenchParts, loadBenchParts } from "../benchParts.ts";
import {
  ALL_FLAGS,
  addCommonFlags,
  addTraceFlag,
  type CommonFlags,
  number,
  OUTPUT_FLAGS,
  type OutputFlags,
  type TraceFlag,
  whole,
} from "../flags.ts";
import { type Io, Terminal } from "../io.ts";
import { openFlaggedModel } from "../modelFlag.ts";
import { checkFile } from "../output.ts";
import { inputsOf } from "../ownInputs.ts";
import { withPipeline } from "../session.ts";
import { loadOf } from "../software/threads.ts";
import { bytes, plural } from "../table.ts";
import { readForwardInputs } from "../tensorFiles.ts";
import { reportTimings, wantsTimings } from "../timings.ts";
import { addBenchExport } from "./benchExport.ts";
import { addBenchReport } from "./benchReport.ts";

type RunFlags = OutputFlags & Parameters<BenchParts["benchAll"]>[1];
type KernelFlags = OutputFlags & Parameters<BenchParts["benchKernels"]>[1];

interface BenchFlags extends CommonFlags, TraceFlag {
  input?: string;
  seconds: number;
}

export function addBench(program: Command, io: Io): void {
  const bench = program
    .command("bench")
    .summary("measure how fast this machine is")
    .description("Measures how fast this machine is.")
    .addHelpText("after", "\nExample:\n  $ ddim bench --quick --html report.html");
  addBenchRun(bench, io);
  const forward = bench
    .command("forward")
    .summary("time one network evaluation")
    .description("Times evaluations of a network: warm, nothing read back, the queue drained at the end.")
    .option(
      "--input <file>",
      "safetensors with sample, timestep and class_labels, as of `ddim forward` (default: one image of noise at the " +
        "model's size, in the middle of the schedule)",
    )
    .option("--seconds <s>", "for how long", number, 4)
    .addHelpText("after", "\nExample:\n  $ ddim bench forward -m crawl-tiles-32 --seconds 10 --json");
  addTraceFlag(forward);
  addCommonFlags(forward, ALL_FLAGS);
  forward.action((flags: BenchFlags) => benchForward(flags, io));
  addBenchKernels(bench, io);
  addBenchExport(bench, io);
  addBenchReport(bench, io);
}

function addBenchRun(bench: Command, io: Io): void {
  const run = bench
    .command("run", { isDefault: true })
    .summary("the whole comparison with other engines (what `ddim bench` does by itself)")
    .description(
      "Measures operations, networks and whole runs on this engine and its peers, checks first that all of them compute " +
        "the same, and leaves the results in bench/results. Needs a checkout.",
    )
    .option("--quick", "minutes on a slow machine: the shipped models and small operations")
    .option("--full", "everything, also what takes a software adapter hours")
    .option(
      "--engines <list>",
      "peers: onnxruntime-cpu, onnxruntime-webgpu, torch-eager, … (default: all that are there)",
    )
    .option("--only <text>", "only workloads whose id contains this, such as unet/crawl-tiles-32")
    .option("--seconds <s>", "for each workload on all engines", number)
    .option("-o, --output <file>", "where the results go (default: bench/results/<date>-<adapter>.json)")
    .option("--html <file>", "also write a page with charts")
    .addHelpText("after", "\nExample:\n  $ ddim bench --quick --html report.html");
  addCommonFlags(run, ["device", ...OUTPUT_FLAGS]);
  // As the default command it is handed every word that is no command.
  run.allowExcessArguments();
  run.action(async (flags: RunFlags) => {
    if (run.args.length > 0)
      throw new UsageError("bench", `bench has no command '${run.args[0]}'; see \`ddim bench --help\``);
    return (await loadBenchParts()).benchAll(new Terminal(io, flags), flags);
  });
}

function addBenchKernels(bench: Command, io: Io): void {
  const kernels = bench
    .command("kernels")
    .summary("check and time the variants of one kernel")
    .description(
      "Runs every variant of an operation on one case of the test table: checks it against the f64 oracle, then times it. " +
        "Without --op or --case it lists what there is. With --wgsl it prints what the case compiles, without a GPU.",
    )
    .option("--op <name>", "conv2d, groupNorm, attention, linear or another of the list")
    .option("--case <n>", "number of the case", whole(0))
    .option(
      "--variant <v...>",
      "own, const, uniform, buffer, texture, direct, gpu, or changes: storage=buffer,conv2d=gather",
    )
    .option("--seconds <s>", "for how long all variants are timed (default: 2)", number)
    .option("--wgsl", "print the generated WGSL of each dispatch with its bindings and workgroups")
    .option("--target <name>", "with --wgsl: gpu (the default) or software")
    .option("--matrices", "with --wgsl --dtype f16: a GPU with matrix units")
    .addHelpText(
      "after",
      "\nExample:\n  $ ddim bench kernels --op conv2d --case 11 --variant own --variant shapes=const\n" +
        "  $ ddim bench kernels --op conv2d --case 11 --target software --wgsl",
    );
  addCommonFlags(kernels, ["dtype", "device", ...OUTPUT_FLAGS]);
  kernels.action(async (flags: KernelFlags) => (await loadBenchParts()).benchKernels(new Terminal(io, flags), flags));
}

async function benchForward(flags: BenchFlags, io: Io): Promise<void> {
  const terminal = new Terminal(io, flags);
  if (!(flags.seconds > 0)) throw new UsageError("seconds", `--seconds must be above 0, got ${flags.seconds}`);
  const model = await openFlaggedModel(terminal, flags, { firstStage: false });
  const inputs =
    flags.input === undefined
      ? inputsOf(model, Math.floor((model.scheduler?.num_train_timesteps ?? 1000) / 2))
      : await readForwardInputs(flags.input, model, flags.nonFinite, io.signal);
  if (flags.trace !== undefined) checkFile(flags.trace, true);
  await withPipeline(terminal, flags, { model, load: loadOf(inputs) }, async ({ pipeline, progress }) => {
    // Ends the measurement at its next submission.
    io.signal.addEventListener("abort", () => pipeline.dispose());
    progress.show("timing");
    const { ms, msMin, runs, peakBytes } = await pipeline.network.benchmark(inputs, flags.seconds);
    progress.stop();
    io.signal.throwIfAborted();
    if (wantsTimings(flags, pipeline.device)) reportTimings(terminal, flags, await pipeline.network.profile(inputs));
    const { name } = pipeline.device;
    if (flags.json)
      terminal.json({
        ms,
        ms_min: msMin,
        runs,
        adapter: name,
        dtype: pipeline.network.dtype,
        peak_gpu_bytes: peakBytes,
      });
    else
      terminal.data(
        `${ms.toFixed(3)} ms (least ${msMin.toFixed(3)}) in ${plural(runs, "run")}, ${pipeline.network.dtype} on ${name}, ` +
          `peak ${bytes(peakBytes)} of GPU memory`,
      );
  });
}
