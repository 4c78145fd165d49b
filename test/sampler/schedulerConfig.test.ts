import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/runtime/errors.ts";
import { parseSchedulerConfig } from "../../src/sampler/schedulerConfig.ts";

const parse = (json: unknown) => parseSchedulerConfig(json, "scheduler_config.json");

describe("parseSchedulerConfig", () => {
  it("fills in the defaults of DDIMScheduler", () => {
    expect(parse({})).toEqual({
      _class_name: "DDIMScheduler",
      num_train_timesteps: 1000,
      beta_start: 0.0001,
      beta_end: 0.02,
      beta_schedule: "linear",
      trained_betas: null,
      rescale_betas_zero_snr: false,
      clip_sample: true,
      clip_sample_range: 1,
      set_alpha_to_one: true,
      steps_offset: 0,
      prediction_type: "epsilon",
      timestep_spacing: "leading",
      thresholding: false,
      dynamic_thresholding_ratio: 0.995,
      sample_max_value: 1,
      variance_type: null,
      rescale_timesteps: false,
      solver_type: "midpoint",
    });
  });

  it("takes the file of a Stable Diffusion model with its foreign keys", () => {
    const config = parse({
      _class_name: "PNDMScheduler",
      _diffusers_version: "0.6.0",
      beta_end: 0.012,
      beta_schedule: "scaled_linear",
      beta_start: 0.00085,
      num_train_timesteps: 1000,
      set_alpha_to_one: false,
      skip_prk_steps: true,
      steps_offset: 1,
      trained_betas: null,
      clip_sample: false,
    });
    expect(config).toMatchObject({ set_alpha_to_one: false, steps_offset: 1, clip_sample: false, beta_end: 0.012 });
  });

  it("knows which schedulers never clip", () => {
    expect(parse({ _class_name: "EulerDiscreteScheduler" }).clip_sample).toBeNull();
    expect(parse({ _class_name: "DDPMScheduler" }).clip_sample).toBe(true);
  });

  it("takes T from trained_betas, and refuses two different lengths", () => {
    expect(parse({ trained_betas: [0.1, 0.2, 0.3] }).num_train_timesteps).toBe(3);
    expect(() => parse({ trained_betas: [0.1, 0.2], num_train_timesteps: 3 })).toThrow(/2 values for 3 timesteps/);
  });

  it.each([
    [{ _class_name: "FlowMatchEulerDiscreteScheduler" }, "_class_name", /flow-matching/],
    [{ _class_name: "EDMEulerScheduler" }, "_class_name", /continuous noise levels/],
    [{ _class_name: "LCMScheduler" }, "_class_name", /distilled/],
    [{ _class_name: "toString" }, "_class_name", /not a scheduler of the DDIM family/],
    [{ _class_name: 3 }, "_class_name", /expected a name/],
    [{ snr_shift_scale: 3 }, "snr_shift_scale", /unknown key/],
    [{ toString: 3 }, "toString", /unknown key/],
    [{ timestep_type: "continuous" }, "timestep_type", /"continuous" is not supported/],
    [{ thresholding: 1 }, "thresholding", /true or false/],
    [{ dynamic_thresholding_ratio: 1.5 }, "dynamic_thresholding_ratio", /at most 1/],
    [{ variance_type: "small" }, "variance_type", /one of fixed_small/],
    [{ rescale_timesteps: "yes" }, "rescale_timesteps", /true or false/],
    [{ use_flow_sigmas: true }, "use_flow_sigmas", /not supported/],
    [{ prediction_type: "flow_prediction" }, "prediction_type", /one of epsilon, v_prediction, sample/],
    [{ beta_schedule: "cosine" }, "beta_schedule", /one of linear, scaled_linear/],
    [{ num_train_timesteps: 0 }, "num_train_timesteps", /whole number from 1, got 0/],
    [{ num_train_timesteps: "1000" }, "num_train_timesteps", /got "1000"/],
    [{ beta_start: 0 }, "beta_start", /above 0/],
    [{ beta_end: Number.NaN }, "beta_end", /above 0/],
    [{ clip_sample: 1 }, "clip_sample", /true or false/],
    [{ clip_sample_range: 0 }, "clip_sample_range", /above 0/],
    [{ steps_offset: -1 }, "steps_offset", /whole number from 0/],
    [{ trained_betas: [] }, "trained_betas", /list of numbers/],
    [{ trained_betas: [0.1, 1.5] }, "trained_betas", /beta 1 is 1.5/],
    [{ beta_schedule: "openai_linear", num_train_timesteps: 5 }, "beta_schedule", /at most 1/],
    [{ trained_betas: ["a"] }, "trained_betas", /list of numbers/],
    [{ timestep_spacing: "even" }, "timestep_spacing", /one of leading, trailing/],
    [{ rescale_betas_zero_snr: true, num_train_timesteps: 1 }, "rescale_betas_zero_snr", /single timestep/],
    [[1], "(root)", /expected an object/],
    [null, "(root)", /expected an object/],
  ])("%j is refused", (json, key, message) => {
    let caught: unknown;
    try {
      parse(json);
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(ConfigError);
    expect(caught).toMatchObject({ file: "scheduler_config.json", key });
    expect((caught as Error).message).toMatch(message);
  });
});
