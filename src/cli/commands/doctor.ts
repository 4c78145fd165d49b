/** `ddim doctor`: what this machine offers, and whether our kernels compute the right thing on it. */
import process from "node:process";
import type { Command } from "commander";
import { targetFor } from "../../kernels/target.ts";
import { listAdapters } from "../../node/device.ts";
import { openModel } from "../../node/model.ts";
import type { Model } from "../../pipeline/model.ts";
import { type SelfTestResult, selfTest } from "../../pipeline/selfTest.ts";
import type { Device } from "../../runtime/device.ts";
import { DeviceError } from "../../runtime/errors.ts";
import { ADVICE, describeAdapter, printAdapter } from "../adapters.ts";
import {
  addCommonFlags,
  type CommonFlags,
  MODEL_FLAGS,
  type ModelFlags,
  OUTPUT_FLAGS,
  type OutputFlags,
} from "../flags.ts";
import { goldenRun } from "../goldenRun.ts";
import { halfRange } from "../halfRange.ts";
import { type Io, type Lines, Terminal } from "../io.ts";
import { countVariants, lower } from "../kernels.ts";
import { modelSource, openFlaggedModel } from "../modelFlag.ts";
import { packageVersion } from "../package.ts";

interface DoctorFlags extends ModelFlags, Pick<CommonFlags, "device">, OutputFlags {}

export function addDoctor(program: Command, io: Io): void {
  const command = program
    .command("doctor")
    .summary("what this machine offers, and whether the kernels work on it")
    .description(
      "Lists adapters with their limits and features, then tests the kernels on one of them, with WebGPU's " +
        "validation switched on, samples an image whose pixels are known, and says how far storing f16 moves images. " +
        "With -m it also tells whether that model's numbers stay within what f16 holds.",
    )
    .addHelpText("after", "\nExamples:\n  $ ddim doctor --device 0\n  $ ddim doctor -m crawl-tiles-32");
  addCommonFlags(command, [...MODEL_FLAGS, "device", ...OUTPUT_FLAGS]);
  command.action((flags: DoctorFlags) => doctor(flags, io));
}

async function doctor(flags: DoctorFlags, io: Io): Promise<void> {
  const terminal = new Terminal(io, flags);
  const say = (lines: Lines) => !flags.json && terminal.data(lines);
  const { versions, platform, arch } = process;
  const named = MODEL_FLAGS.some((name) => flags[name] !== undefined);
  const model = named ? await openFlaggedModel(terminal, flags, { firstStage: false }) : undefined;
  const host = { version: packageVersion(), node: versions.node, platform: `${platform} ${arch}` };
  say(`ddim-webgpu ${host.version}, Node ${host.node}, ${host.platform}`);
  const adapters = (await listAdapters()).map(describeAdapter);
  adapters.forEach((adapter, index) => {
    say(["", ...printAdapter(index, adapter)]);
  });
  if (adapters.length === 0) {
    if (flags.json) terminal.json({ ...host, adapters, device: null, ok: false, advice: ADVICE });
    throw new DeviceError("unsupported", "no WebGPU adapter was found on this machine", ADVICE);
  }
  const device = await io.openDevice({ adapter: flags.device, fast: false });
  try {
    const kernels = await chosenKernels(device, io.signal);
    const names = kernels.map(({ kernel, variant }) => `${kernel}/${variant}`);
    say(["", device.name, `    kernels of the default model: ${names.join(", ")}`]);
    const checks: SelfTestResult[] = [];
    for await (const check of runChecks(device, io.signal, model)) {
      checks.push(check);
      if (!flags.json && (!check.ok || !flags.quiet)) terminal.check(check.ok, `${check.name}: ${check.detail}`);
    }
    const failed = checks.filter(({ ok }) => !ok).length;
    const { name } = device;
    const { software, subgroupSize: subgroup_size, timestamps } = device.capabilities;
    const capabilities = { software, subgroup_size, timestamps };
    if (flags.json) terminal.json({ ...host, adapters, device: name, capabilities, kernels, checks, ok: failed === 0 });
    say(`${checks.length - failed} of ${checks.length} checks passed`);
    if (failed > 0) throw new DeviceError("validation", `${failed} of ${checks.length} checks failed on ${name}`);
    if (!flags.json) terminal.done(`${name}: checked`);
  } finally {
    device.dispose();
  }
}

async function chosenKernels(device: Device, signal: AbortSignal) {
  const { config } = await openModel(modelSource({}), { signal });
  return countVariants(lower(config, targetFor(device), config.sample_size ?? { height: 16, width: 16 }, "f32"));
}

async function* runChecks(device: Device, signal: AbortSignal, model?: Model): AsyncGenerator<SelfTestResult> {
  for await (const check of selfTest(device)) {
    signal.throwIfAborted();
    yield check;
  }
  yield* goldenRun(device, signal);
  if (model) yield halfRange(model, device, signal);
}
