/** What deserves a word although it can be run. */
import type { SchedulerConfig } from "./schedulerConfig.ts";
import type { ScheduleRun, ScheduleStep } from "./scheduleTypes.ts";

export function scheduleWarnings(config: SchedulerConfig, run: ScheduleRun, steps: readonly ScheduleStep[]): string[] {
  const T = run.numTrainTimesteps;
  const S = steps.length;
  const first = steps[0]!.t;
  const warnings: string[] = [];

  if (!config._class_name.startsWith("DDIM"))
    warnings.push(`the model names ${config._class_name}; it is sampled with DDIM`);
  if (config.clip_sample === null && run.clip !== null)
    warnings.push(`x0 is clamped to ${run.clip} although ${config._class_name} never clamps`);
  if (run.spacing !== "custom" && first < 0.95 * T)
    warnings.push(
      `${run.spacing} spacing with ${S} ${S === 1 ? "step" : "steps"} starts at t = ${first} of ${T - 1}, where the network expects less noise than x_T holds; trailing spacing starts at ${T - 1}`,
    );
  if (run.spacing === "leading" && config.steps_offset > 0 && S > T / 2)
    warnings.push(
      `steps_offset ${config.steps_offset} with more than ${Math.floor(T / 2)} steps: the timesteps are ${first} to ${config.steps_offset} and t = 0 is never visited`,
    );
  if (run.prediction === "epsilon" && run.alphasCumprod[T - 1] === 0)
    warnings.push("prediction epsilon with zero terminal SNR: the network learned nothing at the noisiest timestep");
  if (run.compat === "diffusers") {
    const wrong = steps.filter((s, i) => i + 1 < S && s.tPrev !== steps[i + 1]!.t).length;
    if (wrong) warnings.push(`compat diffusers: t - T // S is not the next timestep at ${wrong} of ${S} steps`);
    const last = steps[S - 1]!;
    if (last.tPrev !== null)
      warnings.push(`compat diffusers: the last step ends at t = ${last.tPrev}, so the image keeps its noise`);
  }
  return warnings;
}
