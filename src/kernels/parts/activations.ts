/** Activations on vec4f. Division and exp are the expensive parts on software adapters, so each uses one of both. */
export type Activation = "none" | "silu" | "relu" | "gelu" | "mish";

/** diffusers' names for `act_fn` (`get_activation`), mapped to ours. */
const ACTIVATION_NAMES: Readonly<Record<string, Activation>> = {
  silu: "silu",
  swish: "silu",
  relu: "relu",
  gelu: "gelu",
  mish: "mish",
};

/** The activation that a configuration names. */
export const readActivation = (
  r: { choice(key: string, fallback: string, values: readonly string[]): string },
  key: string,
): Activation => ACTIVATION_NAMES[r.choice(key, "silu", Object.keys(ACTIVATION_NAMES))] as Activation;

const BODY: Record<Activation, string> = {
  none: "return v;",
  silu: "return v / (1.0 + exp(-v));",
  relu: "return max(v, vec4f());",
  // The erf form. erf by Abramowitz & Stegun 7.1.26: absolute error below 1.5e-7, an f32 rounding.
  gelu: `let z = abs(v) * 0.70710678;
  let t = 1.0 / (1.0 + 0.3275911 * z);
  let p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  let erf = sign(v) * (1.0 - p * exp(-z * z));
  return 0.5 * v * (1.0 + erf);`,
  // x·tanh(softplus(x)) = x·n/(n + 2) with n = e^x·(e^x + 2); e^20 is already 1 to f32.
  mish: `let e = exp(min(v, vec4f(20.0)));
  let n = e * (e + 2.0);
  return v * n / (n + 2.0);`,
};

/** A WGSL function `activate(v: vec4f) -> vec4f`. Zero maps to zero for every activation, so padding stays zero. */
export const activationFunction = (act: Activation): string => `fn activate(v: vec4f) -> vec4f {\n  ${BODY[act]}\n}`;
