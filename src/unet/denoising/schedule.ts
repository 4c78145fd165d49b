/** Noise schedules of denoising-diffusion-pytorch and of the post, as diffusers' keys. */
import type { ConfigReader } from "../../network/configReader.ts";
import { MOST } from "../../network/configReader.ts";

const linspace = (start: number, end: number, n: number): number[] =>
  Array.from({ length: n }, (_, i) => (n > 1 ? start + (i * (end - start)) / (n - 1) : start));

/** β of a schedule that is given by ᾱ at T + 1 places, within bounds. */
function betasOf(T: number, alphaBar: (u: number) => number, least: number, most: number): number[] {
  const all = linspace(0, 1, T + 1).map(alphaBar);
  return Array.from({ length: T }, (_, i) => {
    const beta = 1 - (all[i + 1] as number) / (all[i] as number);
    return Math.min(most, Math.max(least, beta));
  });
}

const cosine =
  (s: number) =>
  (u: number): number =>
    Math.cos((((u + s) / (1 + s)) * Math.PI) / 2) ** 2;

const sigmoid = (v: number): number => 1 / (1 + Math.exp(-v));

/** Jabri et al., "Scalable adaptive computation", 2022, figure 8. The two ends are f32 in the original. */
function sigmoidBar(start: number, end: number, tau: number): (u: number) => number {
  const [first, last] = [start / tau, end / tau].map((v) => Math.fround(sigmoid(Math.fround(v)))) as [number, number];
  const range = Math.fround(last - first);
  return (u) => (last - sigmoid((u * (end - start) + start) / tau)) / range;
}

/** @param r the section that GaussianDiffusion's arguments stand in */
export function lucidrainsSchedule(
  r: ConfigReader,
  kwargs: ConfigReader | null,
  old: boolean,
): Record<string, unknown> {
  const T = r.count("timesteps", 1000, 1, MOST.timesteps);
  const name = r.choice("beta_schedule", old ? "cosine" : "sigmoid", ["linear", "cosine", "sigmoid"]);
  const number = (key: string, fallback: number): number => {
    const value = kwargs?.get(key) ?? fallback;
    if (typeof value !== "number" || !Number.isFinite(value)) kwargs?.fail(key, "expected a number");
    return value as number;
  };
  const own = (): Record<string, unknown> => {
    if (name === "linear") return { beta_schedule: "openai_linear" };
    if (name === "cosine") {
      const s = number("s", 0.008);
      return s === 0.008 ? { beta_schedule: "squaredcos_cap_v2" } : { trained_betas: betasOf(T, cosine(s), 0, 0.999) };
    }
    const bar = sigmoidBar(number("start", -3), number("end", 3), number("tau", 1));
    number("clamp_min", 1e-5);
    return { trained_betas: betasOf(T, bar, 0, 0.999) };
  };
  const objectives = { pred_noise: "epsilon", pred_x0: "sample", pred_v: "v_prediction" } as const;
  const objective = r.choice(
    "objective",
    old ? "pred_noise" : "pred_v",
    Object.keys(objectives) as (keyof typeof objectives)[],
  );
  return { num_train_timesteps: T, ...own(), prediction_type: objectives[objective], clip_sample: true };
}

/** The post's four schedules between beta_start and beta_end; its mean is made of ε, and nothing is clipped. */
export function postSchedule(r: ConfigReader): Record<string, unknown> {
  const T = r.count("timesteps", 300, 1, MOST.timesteps);
  const [beta_start, beta_end] = [r.positive("beta_start", 1e-4), r.positive("beta_end", 0.02)];
  const names = { linear: "linear", quadratic: "scaled_linear", sigmoid: "sigmoid", cosine: "" } as const;
  const name = r.choice("beta_schedule", "linear", Object.keys(names) as (keyof typeof names)[]);
  const own =
    name === "cosine"
      ? { trained_betas: betasOf(T, cosine(r.positive("cosine_s", 0.008)), 1e-4, 0.9999) }
      : { beta_schedule: names[name], beta_start, beta_end };
  return { num_train_timesteps: T, ...own, clip_sample: false, variance_type: "fixed_small" };
}
