/** What configurations of diffusers' two UNets have in common: most defaults, how these are tested, and refusals. */
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../src/runtime/errors.ts";
import type { UNetSpec } from "../../src/unet/spec.ts";

export type Config = Readonly<Record<string, unknown>>;
export type Parse = (json: Record<string, unknown>) => UNetSpec;

/** The path that `parse` is told. */
export const FILE = "unet/config.json";

/** The timestep's embedding by default, where the first level has so many channels. */
export const timeOf = (channels: number): UNetSpec["time"] => ({
  type: "positional",
  inputs: channels,
  dim: 4 * channels,
  freq_shift: 0,
  flip_sin_to_cos: true,
  num_train_timesteps: 0,
  act: "silu",
  post_act: "none",
  sum_act: "none",
});

/** The defaults that both classes have. */
export const COMMON = {
  sample_size: null,
  center_input_sample: false,
  conv_in_kernel: 3,
  conv_out_kernel: 3,
  norm_num_groups: 32,
  norm_eps: 1e-5,
  act_fn: "silu",
  out_act: "silu",
  scale_shift: false,
  classes: { kind: "none" },
  added: { kind: "none" },
  downsample_padding: 1,
} as const satisfies Partial<UNetSpec>;

/**
 * @param defaults every argument of the class with its default
 * @param spec what they mean
 */
export function testDefaults(parse: Parse, defaults: Config, spec: UNetSpec): void {
  test("an empty configuration is diffusers' default", () => {
    expect(parse({})).toEqual(spec);
  });

  test("every key spelled out at its default means the same as none", () => {
    expect(parse(defaults)).toEqual(parse({}));
    for (const [key, value] of Object.entries(defaults)) expect(parse({ [key]: value }), key).toEqual(parse({}));
  });
}

/** The error that a configuration must meet. */
export function refusalOf(parse: Parse, json: Config): ConfigError {
  try {
    parse(json);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error(`${JSON.stringify(json)} was accepted`);
}

export type Refusal = [key: string, config: Config, says: RegExp];

/** One test per case: a {@link ConfigError} of this file and key, whose sentence begins with both and `says` why. */
export function testRefusals(parse: Parse, cases: readonly Refusal[]): void {
  describe("refused, naming file, key and value:", () => {
    for (const [key, config, says] of cases)
      test(`${key} ${JSON.stringify(config)}`, () => {
        const error = refusalOf(parse, config);
        expect(error).toMatchObject({ file: FILE, key });
        expect(error.message).toMatch(says);
        expect(error.message).toContain(`${FILE}: ${key}: `);
      });
  });
}
