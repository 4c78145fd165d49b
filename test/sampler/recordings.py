"""Records runs of diffusers for the tests of solvers and of torch's noise: python3 test/sampler/recordings.py

Writes test/golden/schedulers/solver_keys.json (DPMSolverMultistepScheduler under keys of its configuration) and
test/golden/pipelines/torch_batch.safetensors (whole batches of DDIMPipeline and DDPMPipeline from one generator).
"""

import json
import pathlib

import numpy as np
import torch
from diffusers import DDIMPipeline, DDPMPipeline, DDPMScheduler, DPMSolverMultistepScheduler
from safetensors.torch import save_file

torch.set_num_threads(1)
GOLDEN = pathlib.Path(__file__).parent.parent / "golden"


def network(x, t):
    return torch.tanh(0.7 * x + 0.3 * np.sin(0.01 * float(t)))


def solver_run(steps, **config):
    scheduler = DPMSolverMultistepScheduler(**config)
    scheduler.set_timesteps(steps)
    x = start = torch.randn(1, 2, 3, 4, generator=torch.manual_seed(7))
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t), t, x).prev_sample
    numbers = lambda v: [float(f"{n:.8g}") for n in v.flatten().tolist()]
    return {
        "config": config,
        "timesteps": scheduler.timesteps.tolist(),
        "x_T": numbers(start),
        "final": numbers(x),
    }


def solver_runs():
    latents = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    minimum = {"final_sigmas_type": "sigma_min"}
    cases = {
        "order 1": (10, {"solver_order": 1}),
        "order 3": (10, {"solver_order": 3}),
        "order 3, no lower order at the end": (10, {"solver_order": 3, "lower_order_final": False, **minimum}),
        "order 3 in 20 steps": (20, {"solver_order": 3, **minimum, **latents}),
        "order 3, v": (12, {"solver_order": 3, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}),
        "order 3, heun": (9, {"solver_order": 3, "solver_type": "heun", **minimum}),
        "order 3 with two steps": (2, {"solver_order": 3, **minimum}),
        "sigma_min": (10, minimum),
        "sigma_min, no lower order at the end": (10, {"lower_order_final": False, **minimum}),
        "sigma_min in 15 steps": (15, minimum),
        "sigma_min in 14 steps": (14, minimum),
        "sigma_min in 20 steps, euler at the end": (20, {"euler_at_final": True, **minimum}),
        "euler at the end alone": (6, {"euler_at_final": True, "lower_order_final": False, **minimum, **latents}),
        "zero": (10, {"final_sigmas_type": "zero", "lower_order_final": False, **latents}),
    }
    return {name: solver_run(steps, **config) for name, (steps, config) in cases.items()}


def batches():
    folder = GOLDEN / "pipelines" / "eps_clip"
    ddim = DDIMPipeline.from_pretrained(folder)
    ddpm = DDPMPipeline(ddim.unet, DDPMScheduler.from_config(ddim.scheduler.config))
    ddim.set_progress_bar_config(disable=True)
    ddpm.set_progress_bar_config(disable=True)
    made = {}

    def record(name, pipeline, count, seed, **options):
        states = []
        scheduler = pipeline.scheduler
        step = scheduler.step
        # The pipeline cuts its pictures to 0..1; the last state says more.
        scheduler.step = lambda *a, **k: states.append(step(*a, **k)) or states[-1]
        pipeline(batch_size=count, output_type="np", generator=torch.manual_seed(seed), **options)
        del scheduler.step
        made[name] = states[-1].prev_sample.contiguous()

    record("ddim_eta0", ddim, 4, 0, num_inference_steps=5, eta=0.0)
    record("ddim_eta1", ddim, 4, 0, num_inference_steps=5, eta=1.0)
    record("ddim_eta1_alone", ddim, 1, 2, num_inference_steps=5, eta=1.0)
    record("ddpm", ddpm, 4, 3, num_inference_steps=6)
    return made


if __name__ == "__main__":
    text = json.dumps({"made_by": "test/sampler/recordings.py", "runs": solver_runs()}, separators=(",", ":"))
    (GOLDEN / "schedulers" / "solver_keys.json").write_text(text + "\n")
    save_file(batches(), GOLDEN / "pipelines" / "torch_batch.safetensors")
