/** What deserves a word although it can be run. */
import type { SchedulerConfig } from "./schedulerConfig.ts";
import type { ScheduleOptions, ScheduleRun, ScheduleStep } from "./scheduleTypes.ts";

/** Noise that a viewer sees: half of one of 32 grey levels over -1..1. */
const visible = 1 / 32;

export function scheduleWarnings(
  options: ScheduleOptions,
  config: SchedulerConfig,
  run: ScheduleRun,
  steps: readonly ScheduleStep[],
): string[] {
  const T = run.numTrainTimesteps;
  const S = steps.length;
  const first = steps[0]!.t;
  const warnings: string[] = [];

  if (options.sampler === undefined && !config._class_name.startsWith("DDIM"))
    warnings.push(`the model names ${config._class_name}; it is sampled with DDIM`);
  if (config.clip_sample === null && run.clip !== null)
    warnings.push(`x0 is clamped to ${run.clip} although ${config._class_name} never clamps`);
  if (run.spacing !== "custom" && options.start === undefined && first < 0.95 * T)
    warnings.push(
      `${run.spacing} spacing with ${S} ${S === 1 ? "step" : "steps"} starts at t = ${first} of ${T - 1}, where the network expects less noise than x_T holds; trailing spacing starts at ${T - 1}`,
    );
  if (run.spacing === "leading" && config.steps_offset > 0 && S > T / 2)
    warnings.push(
      `steps_offset ${config.steps_offset} with more than ${Math.floor(T / 2)} steps: the timesteps are ${first} to ${config.steps_offset} and t = 0 is never visited`,
    );
  if (run.prediction === "epsilon" && run.alphasCumprod[T - 1] === 0)
    warnings.push("prediction epsilon with zero terminal SNR: the network learned nothing at the noisiest timestep");
  const last = steps[S - 1]!;
  if (options.stop === undefined && last.sigma > visible)
    warnings.push(`the last step adds noise of standard deviation ${last.sigma.toPrecision(2)} to the image`);
  if (run.sampler === "dpmpp2m") warnings.push(...otherSolvers(config));
  if (run.compat !== "none") warnings.push(...accidents(options, run, steps));
  return warnings;
}

/** Choices of diffusers' DPMSolverMultistepScheduler that ours does not follow. */
function otherSolvers(config: SchedulerConfig): string[] {
  const ours: Readonly<Partial<Record<keyof SchedulerConfig, readonly unknown[]>>> = {
    // DEIS is diffusers' other name for the same.
    algorithm_type: ["dpmsolver++", "deis"],
    // Other solvers' names, which diffusers takes for midpoint.
    solver_type: ["midpoint", "heun", "logrho", "bh1", "bh2"],
    use_karras_sigmas: [false],
    use_exponential_sigmas: [false],
    use_beta_sigmas: [false],
    use_lu_lambdas: [false],
    lambda_min_clipped: [Number.NEGATIVE_INFINITY, "-inf"],
  };
  return Object.entries(ours).flatMap(([key, values]) => {
    const value = config[key as keyof SchedulerConfig];
    if (value === undefined || values.includes(value)) return [];
    return [`${key} ${JSON.stringify(value)} is not followed: dpmpp2m is dpmsolver++ on the run's own timesteps`];
  });
}

/** What the chosen original system does that its user may not expect. */
function accidents(options: ScheduleOptions, { compat }: ScheduleRun, steps: readonly ScheduleStep[]): string[] {
  const S = steps.length;
  const found: string[] = [];
  if (options.steps !== undefined && options.steps !== S)
    found.push(`compat ${compat}: ${S} steps are taken for ${options.steps}`);
  const repeated = steps.filter((s, i) => s.t === steps[i + 1]?.t).length;
  if (repeated) found.push(`compat ${compat}: ${repeated} of ${S} steps repeat a timestep`);
  const strayed = steps.filter((s, i) => i + 1 < S && s.tPrev !== steps[i + 1]!.t).length;
  if (strayed) found.push(`compat ${compat}: t - T // S is not the next timestep at ${strayed} of ${S} steps`);
  const end = steps[S - 1]!.tPrev;
  if (end !== null && end !== options.stop)
    found.push(`compat ${compat}: the last step ends at t = ${end}, so the image keeps its noise`);
  return found;
}
