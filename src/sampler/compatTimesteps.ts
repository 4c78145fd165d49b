/**
 * The timestep lists of the original systems, accidents included, where the original can run them: other numbers of steps
 * than asked for, repeated timesteps, a list that stops far below T. Errors name what the original does instead.
 */
import { UsageError } from "../runtime/errors.ts";
import { linspace } from "./betas.ts";
import { parseSpacing, roundEven, sectionRule, squares } from "./timestepRules.ts";
import { checkSteps, resolveSteps, spacedTimesteps, type TimestepOptions, type TimestepSpacing } from "./timesteps.ts";

function unknownRule(system: string, spacing: TimestepSpacing, rules: string): UsageError {
  return new UsageError("spacing", `spacing ${spacing} does not exist in ${system}, which has ${rules}`);
}

/** numpy.round(numpy.arange(T, 0, -T / S)) - 1, descending: arange fixes its step from its first two values. */
function diffusersTrailing(T: number, S: number): number[] {
  const ratio = T / S;
  const step = T - ratio - T;
  return Array.from({ length: Math.ceil(T / ratio) }, (_, i) => roundEven(T + i * step) - 1);
}

/**
 * What diffusers' set_timesteps returns, noisiest first.
 *
 * @throws UsageError where diffusers has no such rule, indexes past its table, or returns S + 1 steps ending at t = -1
 */
export function diffusersTimesteps(spacing: TimestepSpacing, options: TimestepOptions): number[] {
  const T = options.alphasCumprod.length;
  const S = resolveSteps(options.steps, undefined, T);
  checkSteps(S, T);
  if (spacing === "leading") return spacedTimesteps("leading", options);
  for (const option of ["start", "stop"] as const)
    if (options[option] !== undefined)
      throw new UsageError(option, `${option} cannot be chosen under compat diffusers with ${spacing} spacing`);
  if (spacing === "linspace")
    return linspace(0, T - 1, S)
      .map(roundEven)
      .reverse();
  if (spacing !== "trailing") throw unknownRule("diffusers", spacing, "leading, trailing and linspace");
  const list = diffusersTrailing(T, S);
  if (list.length === S) return list;
  throw new UsageError(
    "steps",
    `diffusers' trailing spacing returns ${list.length} timesteps for ${S} steps and ends at t = ${list.at(-1)}, which no network can take; use another number of steps or no compat`,
  );
}

/** ermongroup and latent-diffusion: range(0, T, T // S), which may be longer than S, or squares with repeats; descending. */
function strided(system: string, spacing: TimestepSpacing, options: TimestepOptions): number[] {
  const T = options.alphasCumprod.length;
  const S = resolveSteps(options.steps, undefined, T);
  checkSteps(S, T);
  if (spacing === "quad") return squares(T, S).reverse();
  if (spacing !== "uniform") throw unknownRule(system, spacing, "uniform and quad");
  const stride = Math.floor(T / S);
  return Array.from({ length: Math.ceil(T / stride) }, (_, i) => i * stride).reverse();
}

export function ermongroupTimesteps(spacing: TimestepSpacing, options: TimestepOptions): number[] {
  return strided("ermongroup/ddim", spacing, options);
}

/** @throws UsageError also where the list ends at T, outside latent-diffusion's table */
export function ldmTimesteps(spacing: TimestepSpacing, options: TimestepOptions): number[] {
  const T = options.alphasCumprod.length;
  const list = strided("latent-diffusion", spacing, options).map((t) => t + 1);
  if (list[0]! < T) return list;
  throw new UsageError(
    "steps",
    `latent-diffusion's ${spacing} list for ${resolveSteps(options.steps, undefined, T)} steps starts at t = ${list[0]}, past its table; use another number of steps or no compat`,
  );
}

/** denoising-diffusion-pytorch: the whole parts of torch's linspace(-1, T - 1, S + 1) but the first, in f32 from both ends. */
export function lucidrainsTimesteps(spacing: TimestepSpacing, options: TimestepOptions): number[] {
  const T = options.alphasCumprod.length;
  const S = resolveSteps(options.steps, undefined, T);
  checkSteps(S, T);
  if (spacing !== "linspace") throw unknownRule("denoising-diffusion-pytorch", spacing, "linspace");
  const step = Math.fround(T / S);
  const half = Math.floor((S + 1) / 2);
  const place = (i: number) => Math.fround(i < half ? step * i - 1 : T - 1 - step * (S - i));
  return Array.from({ length: S }, (_, i) => Math.trunc(place(S - i)));
}

/** OpenAI space_timesteps: "ddimN", or sections placed with an accumulated float. @throws UsageError where it raises */
export function openaiTimesteps(spacing: TimestepSpacing, options: TimestepOptions): number[] {
  const { sections, steps } = parseSpacing(spacing);
  const T = options.alphasCumprod.length;
  const S = resolveSteps(options.steps, steps, T);
  checkSteps(S, T);
  if (S === 1) throw new UsageError("steps", "OpenAI's diffusion cannot be built for a single step");
  if (spacing === "ddim" || (steps !== undefined && !sections)) return spacedTimesteps(spacing, options);
  if (!sections) throw unknownRule("OpenAI's code", spacing, "ddimN and sections like 10,10,5");
  const accumulated = (i: number, size: number, count: number) => {
    let position = 0;
    for (let k = 0; k < i; k++) position += (size - 1) / (count - 1);
    return roundEven(position);
  };
  const list = sectionRule(sections, accumulated)({ T, S, offset: 0, alphasCumprod: options.alphasCumprod });
  if (!list) throw new UsageError("spacing", `spacing ${spacing} asks for more timesteps than a section of ${T} has`);
  return list.reverse();
}
