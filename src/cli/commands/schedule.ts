/** `ddim schedule`: the steps of a run as they will be computed, in float64. Reads no weights, opens no device. */
import type { Command } from "commander";
import { openScheduler } from "../../node/model.ts";
import { FileError } from "../../runtime/errors.ts";
import { makeSchedule, type Schedule } from "../../sampler/schedule.ts";
import {
  addCommonFlags,
  addSamplerFlags,
  type ModelFlags,
  OUTPUT_FLAGS,
  type OutputFlags,
  type SamplerFlags,
  samplerOptions,
} from "../flags.ts";
import { type Io, Terminal } from "../io.ts";
import { unknownOf, withModelFiles } from "../modelFlag.ts";
import { table } from "../table.ts";

interface ScheduleFlags extends Pick<ModelFlags, "model" | "config">, OutputFlags, SamplerFlags {}

export function addSchedule(program: Command, io: Io): void {
  const command = program
    .command("schedule")
    .summary("print the steps of a run")
    .description("Prints the schedule of a run, noisiest step first. Needs no GPU.")
    .addHelpText("after", "\nExample:\n  $ ddim schedule -S 10 --spacing trailing --eta 0.5");
  addCommonFlags(addSamplerFlags(command), ["model", "config", "ignoreUnknown", ...OUTPUT_FLAGS]);
  command.action((flags: ScheduleFlags) => schedule(flags, io));
}

async function schedule(flags: ScheduleFlags, io: Io): Promise<void> {
  const terminal = new Terminal(io, flags);
  const unknown = unknownOf(flags);
  const warn = (text: string) => terminal.warn([text]);
  const config = await withModelFiles(terminal, flags, async (source) => {
    const found = await openScheduler(source, { unknown, warn, signal: io.signal });
    if (!found) throw new FileError(source.name, "has no scheduler_config.json, so it cannot be sampled");
    return found;
  });
  const made = makeSchedule({ ...config, ...samplerOptions(flags) });
  terminal.warn(made.warnings);
  if (flags.json) terminal.json(describe(made));
  else terminal.data(print(made));
}

function describe(schedule: Schedule): Record<string, unknown> {
  return {
    num_train_timesteps: schedule.numTrainTimesteps,
    beta_schedule: schedule.betaSchedule,
    timestep_spacing: schedule.spacing,
    prediction_type: schedule.prediction,
    clip_sample_range: schedule.clip,
    sampler: schedule.sampler,
    eta: schedule.eta,
    sigma_rule: schedule.sigma,
    compat: schedule.compat,
    final_alpha_cumprod: schedule.finalAlphaCumprod,
    steps: schedule.steps.map((step) => ({
      t: step.t,
      t_prev: step.tPrev,
      alpha_cumprod: step.alphaCumprod,
      alpha_cumprod_prev: step.alphaCumprodPrev,
      sigma: step.sigma,
      ...step.coefficients,
    })),
    warnings: schedule.warnings,
  };
}

/** The formulas stand above the table that holds their coefficients. */
function print(schedule: Schedule): string[] {
  const { numTrainTimesteps: T, betaSchedule, spacing, prediction, clip, sampler, eta, compat } = schedule;
  const bound = clip === null ? "" : `clip±${clip}`;
  const head = [
    `${schedule.steps.length} of ${T} timesteps, ${spacing}; ${betaSchedule} betas; ${prediction}; ${sampler}, eta ${eta}; compat ${compat}`,
    `x0 = ${bound}(k0 x + k1 m), x_prev = k2 x0 + k3 x + k4 m + sigma z; m is the network's output, z noise`,
  ];
  const cells = schedule.steps.map(({ t, tPrev, alphaCumprod, alphaCumprodPrev, sigma, coefficients: c }) => [
    t,
    tPrev ?? "end",
    ...[alphaCumprod, alphaCumprodPrev, sigma, c.k0, c.k1, c.k2, c.k3, c.k4].map((value) => value.toPrecision(8)),
  ]);
  const columns = ["t", "t_prev", "alpha_cumprod", "alpha_cumprod_prev", "sigma", "k0", "k1", "k2", "k3", "k4"];
  return [...head, "", ...table(columns, cells)];
}
