"""Computes the outputs of the goldens whose weights are a recipe again, in float64 from the inputs that their files hold:
python3 test/golden/remake.py. With --check it writes nothing and prints by how much the files differ."""

import json
import sys

import diffusers
import torch
from diffusers import AutoencoderKL, DDIMPipeline, DDIMScheduler, VQModel
from safetensors.torch import load_file, save_file
from seeded import FOLDER, recipes, state_of

torch.set_num_threads(1)
CHECK = "--check" in sys.argv


def write(path, tensors):
    """float64 is kept as float32."""
    tensors = {k: (v.float() if v.is_floating_point() else v).contiguous() for k, v in tensors.items()}
    if not CHECK:
        return save_file(tensors, path)
    old = load_file(path)
    assert old.keys() == tensors.keys(), old.keys() ^ tensors.keys()
    errors = {k: (old[k].double() - tensors[k].double()).abs().max().item() for k in tensors}
    worst = max(errors, key=errors.get)
    print(f"{path.relative_to(FOLDER)}: {errors[worst]:.1e} ({worst})")


def model_of(folder):
    """In float64."""
    config = json.loads((folder / "config.json").read_text())
    model = getattr(diffusers, config["_class_name"]).from_config(config)
    state = {}
    for name, recipe in recipes().items():
        if (FOLDER / name).parent == folder:
            state |= state_of(recipe)
    model.load_state_dict(state)
    if hasattr(model, "time_proj"):
        # Sinusoids are float32 whatever the model is, and UNet2DModel leaves those of class labels so.
        model.time_proj.register_forward_hook(lambda _, __, out: out.double())
    return model.double().eval()


def double(tensor):
    return tensor.double() if tensor.is_floating_point() else tensor


def tapped(model, names):
    """What modules return last, under the names of a golden's tensors."""
    taps = {}
    for name in names:
        module = model.get_submodule(name.removeprefix("taps/"))
        hook = lambda _, __, out, name=name: taps.update({name: out[0] if isinstance(out, tuple) else getattr(out, "sample", out)})
        module.register_forward_hook(hook)
    return taps


def evaluate(model, tensors):
    inputs = {k: double(v) for k, v in tensors.items() if k != "output" and not k.startswith("taps/")}
    added = {k.removeprefix("added/"): v for k, v in inputs.items() if k.startswith("added/")}
    arguments = {k: v for k, v in inputs.items() if not k.startswith("added/")}
    return model(**arguments, **({"added_cond_kwargs": added} if added else {})).sample


def networks():
    for kind in ("models", "corners"):
        for folder in sorted((FOLDER / kind).iterdir()):
            if not (folder / "unet").is_dir():
                continue
            for path in sorted(folder.glob("io*.safetensors")):
                tensors = load_file(path)
                model = model_of(folder / "unet")
                taps = tapped(model, [k for k in tensors if k.startswith("taps/")])
                output = evaluate(model, tensors)
                write(path, {**tensors, **taps, "output": output})


def first_stages():
    folder = FOLDER / "autoencoders"
    path = folder / "vq" / "io.safetensors"
    tensors = load_file(path)
    vq = model_of(folder / "vq" / "vqvae")
    taps = tapped(vq, [k for k in tensors if k.startswith("taps/")])
    latents = vq.encode(double(tensors["sample"])).latents
    quantized, _, (_, _, indices) = vq.quantize(latents)
    book = vq.quantize.embedding.weight
    distances = torch.cdist(latents.permute(0, 2, 3, 1).reshape(-1, book.shape[1]), book).square().sort(dim=1).values
    print(f"vq: the nearest row leads by {(distances[:, 1] - distances[:, 0]).min():.1e}")
    without = vq.decode(latents, force_not_quantize=True).sample
    decoded = vq.decode(latents).sample
    outputs = {"latents": latents, "quantized": quantized, "indices": indices.reshape(tensors["indices"].shape)}
    write(path, {**tensors, **taps, **outputs, "decoded": decoded, "decoded_without_quantize": without})

    path = folder / "kl" / "io.safetensors"
    tensors = load_file(path)
    kl = model_of(folder / "kl" / "vae")
    taps = tapped(kl, [k for k in tensors if k.startswith("taps/")])
    posterior = kl.encode(double(tensors["sample"])).latent_dist
    mean, logvar, noise = posterior.mean, posterior.logvar, double(tensors["noise"])
    factor = kl.config.scaling_factor
    outputs = {"mean": mean, "logvar": logvar, "posterior_sample": mean + torch.exp(0.5 * logvar) * noise}
    outputs |= {"scaled_latents": mean * factor, "decoded_mean": kl.decode(mean).sample, "decoded": kl.decode(noise / factor).sample}
    write(path, {**tensors, **taps, **outputs})


def latent_runs():
    """As StableDiffusionPipeline, StableDiffusionXLPipeline and LDMPipeline do it."""
    scheduler = DDIMScheduler.from_pretrained(FOLDER / "models" / "sd1" / "scheduler")
    kl, vq = model_of(FOLDER / "autoencoders/kl/vae"), model_of(FOLDER / "autoencoders/vq/vqvae")
    for name, network, stage, factor, guidance in (
        ("sd1", "sd1", kl, kl.config.scaling_factor, 2.5),
        ("sdxl", "sdxl", kl, kl.config.scaling_factor, 3),
        ("ldm", "ddpm", vq, 0.5, 1),
    ):
        path = FOLDER / "latents" / f"{name}.safetensors"
        tensors = {k: double(v) for k, v in load_file(path).items()}
        unet = model_of(FOLDER / "models" / network / "unet")
        x = tensors["x_T"]
        n = len(x)

        def conditions(context, text):
            if context not in tensors:
                return {}
            every = lambda t: t.expand(n, *t.shape[1:])
            added = {"text_embeds": every(tensors[text]), "time_ids": every(tensors["added/time_ids"])} if text in tensors else None
            return {"encoder_hidden_states": every(tensors[context]), "added_cond_kwargs": added}

        scheduler.set_timesteps(5)
        for t in scheduler.timesteps:
            noise = unet(x, t, **conditions("encoder_hidden_states", "added/text_embeds")).sample
            if guidance != 1:
                away = unet(x, t, **conditions("negative", "negative/text_embeds")).sample
                noise = away + guidance * (noise - away)
            x = scheduler.step(noise, t, x, eta=0.0).prev_sample
        write(path, {**tensors, "latents": x, "images": stage.decode(x / factor).sample})


def pipelines():
    for name in ("eps_clip", "v_trailing_zsnr"):
        folder = FOLDER / "pipelines" / name
        scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
        unet = model_of(folder / "unet")
        x = double(load_file(folder / "x_T.safetensors")["x_T"])
        scheduler.set_timesteps(8)
        states = []
        for t in scheduler.timesteps:
            x = scheduler.step(unet(x, t).sample, t, x, eta=0.0).prev_sample
            states.append(x)
        images = (x / 2 + 0.5).clamp(0, 1)
        levels = (images.permute(0, 2, 3, 1).float() * 255).round().byte()
        tensors = {"x_after_step": torch.stack(states), "x_0": x, "images": images, "images_uint8_nhwc": levels}
        write(folder / "images.safetensors", {**tensors, "timesteps": scheduler.timesteps})


if __name__ == "__main__":
    with torch.no_grad():
        networks()
        first_stages()
        latent_runs()
        pipelines()
