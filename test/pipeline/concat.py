"""Writes test/golden/concat/: small pipelines whose networks are fed more than the state, with random weights, and what
diffusers makes of some pictures in float64. Noise is that of docs/rng.md, so that a seed says everything. See the README.md there."""

import pathlib
import sys
import types
import zlib

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel, UNet2DModel, VQModel
from PIL import Image
from safetensors.torch import save_file

sys.path[:0] = [str(pathlib.Path(__file__).parents[1] / folder) for folder in ("unet", "golden")]
from random_weights import randomise  # noqa: E402
from seeded import keep, recipe_of, state_of  # noqa: E402

torch.set_num_threads(1)
FOLDER = pathlib.Path(__file__).parents[1] / "golden" / "concat"
SEED = 7
X_T, LOW_RESOLUTION = 0xFFFFFFFF, 0xC0000000


def philox(counter, key):
    """Philox4x32-10 of arrays of counter words."""
    c = [np.asarray(w, np.uint64) for w in counter]
    k = list(key)
    mask = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        high = np.uint64(32)
        c = [(b >> high) ^ c[1] ^ np.uint64(k[0]), b & mask, (a >> high) ^ c[3] ^ np.uint64(k[1]), a & mask]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def noise(word, image, channels, height, width):
    """docs/rng.md: one image's normal numbers, channels x height x width."""
    pixel, block = np.meshgrid(np.arange(height * width), np.arange((channels + 3) // 4))
    words = philox([pixel, block, np.full_like(pixel, word), np.full_like(pixel, image)], [SEED, 0])
    uniform = [((w >> np.uint64(8)) | np.uint64(1)).astype(np.float64) * 2.0**-24 for w in words]
    normal = []
    for u, v in (uniform[:2], uniform[2:]):
        radius = np.sqrt(-2 * np.log(u))
        normal += [radius * np.cos(2 * np.pi * v), radius * np.sin(2 * np.pi * v)]
    numbers = np.stack(normal, 1).reshape(-1, height * width)[:channels]
    return torch.from_numpy(numbers.reshape(channels, height, width))


def batch(word, count, *shape):
    return torch.stack([noise(word, i, *shape) for i in range(count)])


def picture(path, height, width, generator, channels=3):
    """A PNG of random blobs, and its bytes."""
    small = torch.rand((1, channels, 4, 4), generator=generator)
    large = torch.nn.functional.interpolate(small, size=(height, width), mode="bicubic", align_corners=False)
    levels = (large[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()
    image = Image.fromarray(levels if channels == 3 else levels[..., 0])
    image.save(path)
    return image


def tensor_of(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].double() / 127.5 - 1


def patch(module, shapes_to_noise, **more):
    """The module's random numbers come from a list, in the order in which they are drawn."""
    drawn = iter(shapes_to_noise)

    def randn_tensor(shape, **_):
        given = next(drawn)
        assert tuple(shape) == tuple(given.shape), (shape, given.shape)
        return given

    module.randn_tensor = randn_tensor
    for name, value in more.items():
        setattr(module, name, value)


def record(pipe, stage):
    """Keeps what the network and the decoder are given and what they return."""
    seen = types.SimpleNamespace(inputs=[], latents=None, images=None)
    forward, decode = pipe.unet.forward, stage.decode

    def unet(sample, *args, **kwargs):
        seen.inputs.append(sample)
        return forward(sample, *args, **kwargs)

    def decoder(z, *args, **kwargs):
        out = decode(z, *args, **kwargs)
        seen.latents, seen.images = z, out[0] if isinstance(out, tuple) else out.sample
        return out

    pipe.unet.forward, stage.decode = unet, decoder
    return seen


def save(name, pipe):
    folder = FOLDER / name
    pipe.save_pretrained(folder)
    for part in ("unet", "vae", "vqvae"):
        module = getattr(pipe, part, None)
        if module is None:
            continue
        # The numbers of the recipe are as large as those of `made`.
        recipe = recipe_of(module.state_dict(), "F16")
        module.load_state_dict(state_of(recipe))
        file = folder / part / "diffusion_pytorch_model.safetensors"
        keep({f"concat/{name}/{part}/{file.name}": recipe})
        file.unlink()
    return folder


def scheduler(**more):
    common = dict(beta_schedule="scaled_linear", beta_start=0.0015, beta_end=0.015, clip_sample=False)
    return DDIMScheduler(**{**common, "set_alpha_to_one": False, "steps_offset": 1, **more})


def made(name, *modules):
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    for module in modules:
        randomise(module.eval(), generator)
    return generator


KL = dict(
    block_out_channels=(8, 12),
    norm_num_groups=4,
    layers_per_block=1,
    down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2,
    latent_channels=4,
)
CONDITIONAL = dict(
    sample_size=8,
    block_out_channels=(8, 12),
    norm_num_groups=4,
    attention_head_dim=2,
    cross_attention_dim=6,
    layers_per_block=1,
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
)


def contexts(generator, length=3):
    own, free = (torch.randn((1, length, 6), generator=generator) for _ in range(2))
    return {"encoder_hidden_states": own, "negative": free}


def write(folder, name, tensors):
    save_file({k: v.detach().contiguous().float() for k, v in tensors.items()}, folder / f"{name}.safetensors")
    deviations = {k: f"{v.std():.2f}" for k, v in tensors.items()}
    print(f"{folder.name}: {deviations}")


def super_resolution():
    from diffusers.pipelines.latent_diffusion import pipeline_latent_diffusion_superresolution as module

    unet = UNet2DModel(
        sample_size=8,
        in_channels=6,
        out_channels=3,
        block_out_channels=(8, 12),
        norm_num_groups=4,
        attention_head_dim=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    vqvae = VQModel(
        block_out_channels=(8, 12),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=3,
        num_vq_embeddings=8,
    )
    generator = made("super_resolution", unet, vqvae)
    with torch.no_grad():
        vqvae.quantize.embedding.weight.copy_((torch.randn((8, 3), generator=generator) * 2).half().float())
    pipe = module.LDMSuperResolutionPipeline(vqvae=vqvae, unet=unet, scheduler=scheduler())
    folder = save("super_resolution", pipe)
    image = tensor_of(picture(folder / "low.png", 8, 12, generator))
    unet.double(), vqvae.double()
    x_T = batch(X_T, 1, 3, 8, 12)
    patch(module, [x_T])
    seen = record(pipe, vqvae)
    pipe(image, num_inference_steps=4, eta=0.0, output_type="pt")
    codes = vqvae.quantize.embedding.weight
    points = seen.latents.permute(0, 2, 3, 1).reshape(-1, 3)
    near = torch.cdist(points, codes).square().topk(2, largest=False).values
    print("smallest lead of a row of the codebook", (near[:, 1] - near[:, 0]).min().item())
    tensors = {"x_T": x_T, "concat": seen.inputs[0][:, 3:], "latents": seen.latents, "images": seen.images}
    write(folder, "run", tensors)


def inpaint():
    from diffusers.pipelines.stable_diffusion import pipeline_stable_diffusion_inpaint as module

    unet = UNet2DConditionModel(in_channels=9, out_channels=4, **CONDITIONAL)
    vae = AutoencoderKL(**KL)
    generator = made("inpaint", unet, vae)
    pipe = module.StableDiffusionInpaintPipeline(
        vae, None, None, unet, scheduler(), None, None, requires_safety_checker=False
    )
    folder = save("inpaint", pipe)
    image = picture(folder / "image.png", 16, 16, generator)
    mask = picture(folder / "mask.png", 16, 16, generator, channels=1)
    texts = contexts(generator)
    save_file(texts, folder / "context.safetensors")
    unet.double(), vae.double()
    x_T = batch(X_T, 2, 4, 8, 8)
    # The mean of the autoencoder's distribution, where the pipeline draws from it.
    patch(module, [], retrieve_latents=lambda out, generator=None: out.latent_dist.mode())
    seen = record(pipe, vae)
    pipe(
        prompt_embeds=texts["encoder_hidden_states"].double(),
        negative_prompt_embeds=texts["negative"].double(),
        image=image,
        mask_image=mask,
        height=16,
        width=16,
        strength=1.0,
        num_inference_steps=4,
        guidance_scale=2.5,
        num_images_per_prompt=2,
        latents=x_T,
        output_type="pt",
    )
    concat = seen.inputs[0][:1, 4:]
    latents = seen.latents * vae.config.scaling_factor
    write(folder, "run", {"x_T": x_T, "concat": concat, "latents": latents, "images": seen.images})


def upscale():
    from diffusers.pipelines.stable_diffusion import pipeline_stable_diffusion_upscale as module

    unet = UNet2DConditionModel(
        in_channels=7, out_channels=4, num_class_embeds=40, only_cross_attention=[True, False], **CONDITIONAL
    )
    vae = AutoencoderKL(**KL, scaling_factor=0.5)
    generator = made("upscale", unet, vae)
    low = DDPMScheduler(beta_schedule="squaredcos_cap_v2", num_train_timesteps=60)
    # The pipeline replaces the autoencoder's scaling factor; the folder keeps the one that is not used.
    config = dict(vae.config)
    pipe = module.StableDiffusionUpscalePipeline(vae, None, None, unet, low, scheduler(), max_noise_level=35)
    used = vae.config.scaling_factor
    vae.register_to_config(scaling_factor=config["scaling_factor"])
    folder = save("upscale", pipe)
    vae.register_to_config(scaling_factor=used)
    image = picture(folder / "low.png", 6, 10, generator)
    texts = contexts(generator)
    save_file(texts, folder / "context.safetensors")
    unet.double(), vae.double()
    x_T = batch(X_T, 1, 4, 6, 10)
    patch(module, [batch(LOW_RESOLUTION, 1, 3, 6, 10), x_T])
    seen = record(pipe, vae)
    pipe(
        prompt_embeds=texts["encoder_hidden_states"].double(),
        negative_prompt_embeds=texts["negative"].double(),
        image=image,
        noise_level=30,
        num_inference_steps=4,
        guidance_scale=2.5,
        output_type="pt",
    )
    tensors = {"x_T": x_T, "concat": seen.inputs[0][:1, 4:], "latents": seen.latents * used, "images": seen.images}
    write(folder, "run", tensors)


def guidance_embedding():
    from diffusers import StableDiffusionPipeline

    unet = UNet2DConditionModel(in_channels=4, out_channels=4, time_cond_proj_dim=12, **CONDITIONAL)
    vae = AutoencoderKL(**KL)
    generator = made("guidance_embedding", unet, vae)
    pipe = StableDiffusionPipeline(vae, None, None, unet, scheduler(), None, None, requires_safety_checker=False)
    folder = save("guidance_embedding", pipe)
    texts = contexts(generator)
    save_file(texts, folder / "context.safetensors")
    unet.double(), vae.double()
    x_T = batch(X_T, 1, 4, 8, 8)
    for scale in (1.0, 4.5):
        seen = record(pipe, vae)
        pipe(
            prompt_embeds=texts["encoder_hidden_states"].double(),
            negative_prompt_embeds=texts["negative"].double(),
            height=16,
            width=16,
            num_inference_steps=4,
            guidance_scale=scale,
            latents=x_T,
            output_type="pt",
        )
        latents = seen.latents * vae.config.scaling_factor
        assert seen.inputs[0].shape[0] == 1
        write(folder, f"run-w{scale}", {"x_T": x_T, "latents": latents, "images": seen.images})


print(f"diffusers {diffusers.__version__}, torch {torch.__version__}")
for run in (super_resolution, inpaint, upscale, guidance_embedding):
    run()
