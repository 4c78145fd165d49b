"""Writes test/golden/corners/: small UNet2DModels and UNet2DConditionModels in configurations that few checkpoints use,
each with weights from a recipe and what diffusers makes of some inputs. See the README.md there."""

import json
import pathlib
import sys
import zlib

import torch
from diffusers import UNet2DConditionModel, UNet2DModel
from random_weights import randomise
from safetensors.torch import save_file

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "golden"))
from seeded import keep, recipe_of, state_of  # noqa: E402

torch.set_num_threads(1)
FOLDER = pathlib.Path(__file__).parents[1] / "golden" / "corners"

# name: (configuration, [(height, width, timesteps)], extra input)
NETWORKS = {
    "centred": (
        dict(
            sample_size=(12, 20),
            in_channels=1,
            out_channels=1,
            center_input_sample=True,
            block_out_channels=(6, 12),
            norm_num_groups=3,
            attention_head_dim=None,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            act_fn="mish",
            flip_sin_to_cos=False,
            freq_shift=1,
        ),
        [(12, 20, [0, 500, 999]), (20, 12, [7])],
    ),
    "learned": (
        dict(
            sample_size=8,
            in_channels=5,
            out_channels=7,
            time_embedding_type="learned",
            num_train_timesteps=50,
            time_embedding_dim=22,
            block_out_channels=(10, 15),
            norm_num_groups=5,
            attention_head_dim=4,
            down_block_types=("AttnDownBlock2D", "AttnDownBlock2D"),
            up_block_types=("UpBlock2D", "AttnUpBlock2D"),
            layers_per_block=1,
            num_class_embeds=9,
            norm_eps=1e-3,
        ),
        [(8, 8, [0, 49, 7, 7, 30, 1, 48])],
    ),
    "learned_class": (
        dict(
            sample_size=6,
            in_channels=2,
            out_channels=2,
            time_embedding_type="learned",
            num_train_timesteps=20,
            class_embed_type="timestep",
            block_out_channels=(8, 8),
            norm_num_groups=2,
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            add_attention=False,
        ),
        [(6, 6, [3, 19])],
    ),
    "no_middle": (
        dict(
            sample_size=(8, 12),
            mid_block_type=None,
            block_out_channels=(7, 14, 7),
            norm_num_groups=7,
            attention_head_dim=5,
            down_block_types=("UNetResDownBlock2D", "UNetResAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UNetResAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=3,
            resnet_time_scale_shift="scale_shift",
            downsample_padding=0,
            act_fn="swish",
        ),
        [(8, 12, [123])],
    ),
    "resampling_resnets": (
        dict(
            sample_size=16,
            in_channels=4,
            out_channels=8,
            block_out_channels=(12, 20, 8),
            norm_num_groups=4,
            attention_head_dim=5,
            down_block_types=("AttnDownBlock2D", "ResnetDownsampleBlock2D", "AttnDownBlock2D"),
            up_block_types=("ResnetUpsampleBlock2D", "AttnUpBlock2D", "UpBlock2D"),
            downsample_type="resnet",
            upsample_type="resnet",
            downsample_padding=3,
            layers_per_block=1,
            resnet_time_scale_shift="scale_shift",
            mid_block_scale_factor=3.5,
            num_class_embeds=2,
            act_fn="relu",
        ),
        [(16, 8, [11, 800])],
    ),
    "deep": (
        dict(
            sample_size=(32, 16),
            block_out_channels=(4, 4, 8, 4, 8),
            norm_num_groups=2,
            attention_head_dim=3,
            down_block_types=("DownBlock2D", "DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D", "AttnUpBlock2D"),
            layers_per_block=1,
            downsample_padding=0,
            mid_block_scale_factor=0.5,
            class_embed_type="identity",
            time_embedding_dim=13,
            act_fn="gelu",
        ),
        [(32, 16, [999, 0]), (16, 48, [250])],
    ),
    "one_level": (
        dict(
            block_out_channels=(20,),
            norm_num_groups=5,
            attention_head_dim=20,
            attn_norm_num_groups=2,
            down_block_types=("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D",),
            layers_per_block=1,
            resnet_time_scale_shift="scale_shift",
            freq_shift=2,
        ),
        [(9, 7, [40, 41]), (1, 1, [600]), (1, 37, [600])],
    ),
    "unused_groups": (
        dict(
            sample_size=4,
            block_out_channels=(8, 12),
            norm_num_groups=4,
            attention_head_dim=4,
            attn_norm_num_groups=7,
            add_attention=False,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
        ),
        [(4, 4, [10, 990])],
    ),
}

# name: (configuration, [(height, width, timesteps, length of the context)], channels of the pooled text embedding)
CONDITIONAL = {
    "cross_depths": (
        dict(
            in_channels=3,
            out_channels=5,
            block_out_channels=(10, 15, 20),
            norm_num_groups=5,
            attention_head_dim=[3, 2, 1],
            cross_attention_dim=7,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=[2, 1, 1],
            transformer_layers_per_block=[[1, 2], 1, [2]],
            reverse_transformer_layers_per_block=[[1, 2], [2, 1], 1],
            only_cross_attention=[False, False, True],
            num_class_embeds=4,
            class_embeddings_concat=True,
            act_fn="mish",
            timestep_post_act="relu",
        ),
        [(13, 6, [0, 999], 1), (5, 11, [321], 6), (1, 2, [8], 3)],
        None,
    ),
    "cross_projection": (
        dict(
            in_channels=4,
            out_channels=3,
            center_input_sample=True,
            block_out_channels=(8, 12),
            norm_num_groups=4,
            attention_head_dim=[4, 2],
            cross_attention_dim=9,
            down_block_types=("CrossAttnDownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "CrossAttnUpBlock2D"),
            mid_block_type="UNetMidBlock2D",
            mid_block_scale_factor=1.5,
            layers_per_block=1,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=11,
            act_fn="gelu",
            time_embedding_act_fn="silu",
            time_embedding_dim=21,
            conv_in_kernel=5,
            conv_out_kernel=1,
            downsample_padding=0,
        ),
        [(8, 6, [77, 5, 900], 4)],
        None,
    ),
    "cross_text_time": (
        dict(
            in_channels=4,
            out_channels=4,
            block_out_channels=(12, 8),
            norm_num_groups=2,
            norm_eps=1e-3,
            attention_head_dim=2,
            cross_attention_dim=8,
            down_block_types=("ResnetDownsampleBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            mid_block_type=None,
            layers_per_block=1,
            only_cross_attention=True,
            use_linear_projection=True,
            resnet_time_scale_shift="scale_shift",
            class_embed_type="simple_projection",
            projection_class_embeddings_input_dim=23,
            addition_embed_type="text_time",
            addition_time_embed_dim=6,
            flip_sin_to_cos=False,
        ),
        [(6, 4, [1, 500], 2)],
        5,
    ),
    "cross_surplus": (
        dict(
            in_channels=3,
            out_channels=3,
            block_out_channels=(8, 8, 12),
            norm_num_groups=4,
            attention_head_dim=[None, 2, 3],
            cross_attention_dim=[None, 7, 7],
            only_cross_attention=[None, False, True],
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            transformer_layers_per_block=[0, 2, 0, 1, 2],
        ),
        [(8, 4, [3, 700], 5)],
        None,
    ),
    "cross_surplus_lists": (
        dict(
            in_channels=2,
            out_channels=2,
            block_out_channels=(6, 9),
            norm_num_groups=3,
            attention_head_dim=3,
            cross_attention_dim=5,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            transformer_layers_per_block=[[0, 4], None, [2, 7, 9]],
            reverse_transformer_layers_per_block=["none", [1, 2, 3], 5],
        ),
        [(4, 6, [250], 2)],
        None,
    ),
    "cross_resnet_keys": (
        dict(
            in_channels=4,
            out_channels=4,
            block_out_channels=(8, 12, 8),
            norm_num_groups=4,
            attention_head_dim=2,
            cross_attention_dim=6,
            down_block_types=("ResnetDownsampleBlock2D", "CrossAttnDownBlock2D", "ResnetDownsampleBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "ResnetUpsampleBlock2D", "ResnetUpsampleBlock2D"),
            layers_per_block=1,
            resnet_skip_time_act=True,
            resnet_out_scale_factor=1.7,
            time_cond_proj_dim=11,
        ),
        [(8, 12, [20, 640], 3)],
        None,
    ),
    "cross_skip_all": (
        dict(
            in_channels=4,
            out_channels=4,
            block_out_channels=(8, 12),
            norm_num_groups=4,
            attention_head_dim=2,
            cross_attention_dim=6,
            down_block_types=("ResnetDownsampleBlock2D", "ResnetDownsampleBlock2D"),
            up_block_types=("ResnetUpsampleBlock2D", "ResnetUpsampleBlock2D"),
            mid_block_type=None,
            layers_per_block=[1, 2],
            resnet_time_scale_shift="scale_shift",
            resnet_skip_time_act=True,
            resnet_out_scale_factor=0.6,
            class_embed_type="timestep",
            num_class_embeds=1000,
            act_fn="gelu",
        ),
        [(4, 4, [999], 1)],
        None,
    ),
}


def make(kind, name, config):
    """The network with its folder, and the generator for its inputs."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    model = kind(**config).eval()
    # The numbers of the recipe are as large as these; inputs come from the generator after them.
    randomise(model, generator)
    recipe = recipe_of(model.state_dict(), "F16")
    model.load_state_dict(state_of(recipe))
    keep({f"corners/{name}/unet/diffusion_pytorch_model.safetensors": recipe})
    folder = FOLDER / name
    (folder / "unet").mkdir(parents=True, exist_ok=True)
    written = json.loads(model.to_json_string())
    (folder / "unet" / "config.json").write_text(json.dumps(written, indent=2) + "\n")
    return model, folder, generator


def common_inputs(config, height, width, timesteps, generator):
    n = len(timesteps)
    inputs = {
        "sample": torch.randn((n, config.get("in_channels", 3), height, width), generator=generator),
        "timestep": torch.tensor(timesteps),
    }
    if config.get("time_cond_proj_dim"):
        inputs["timestep_cond"] = torch.randn((n, config["time_cond_proj_dim"]), generator=generator)
    if "num_class_embeds" in config:
        inputs["class_labels"] = torch.randint(config["num_class_embeds"], (n,), generator=generator)
    elif config.get("class_embed_type") == "timestep":
        inputs["class_labels"] = torch.randint(config["num_train_timesteps"], (n,), generator=generator)
    elif config.get("class_embed_type") == "identity":
        inputs["class_labels"] = torch.randn((n, config["time_embedding_dim"]), generator=generator)
    elif "class_embed_type" in config:
        width = config["projection_class_embeddings_input_dim"]
        inputs["class_labels"] = torch.randn((n, width), generator=generator)
    return inputs


def evaluate(model, inputs):
    added = {k.split("/")[1]: v for k, v in inputs.items() if "/" in k}
    arguments = {k: v for k, v in inputs.items() if "/" not in k}
    with torch.no_grad():
        return model(**arguments, **({"added_cond_kwargs": added} if added else {})).sample.contiguous()


def write(model, folder, inputs):
    """In float64, as test/golden/remake.py does it."""
    output = evaluate(model.double(), {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}).float()
    height, width = inputs["sample"].shape[2:]
    save_file({**inputs, "output": output}, folder / f"io_{height}x{width}.safetensors")
    rounded = evaluate(model.float(), inputs)
    error = ((rounded - output) ** 2).sum() / (output**2).sum()
    print(f"{folder.name} {height}x{width}: std {output.std():.2f}, NMSE of float32 {error:.1e}")


for name, (config, runs) in NETWORKS.items():
    model, folder, generator = make(UNet2DModel, name, config)
    for height, width, timesteps in runs:
        write(model, folder, common_inputs(config, height, width, timesteps, generator))

for name, (config, runs, text) in CONDITIONAL.items():
    model, folder, generator = make(UNet2DConditionModel, name, config)
    for height, width, timesteps, length in runs:
        inputs = common_inputs(config, height, width, timesteps, generator)
        n = len(timesteps)
        width = config["cross_attention_dim"]
        shape = (n, length, width if isinstance(width, int) else width[-1])
        inputs["encoder_hidden_states"] = torch.randn(shape, generator=generator)
        if text:
            ids = (config["projection_class_embeddings_input_dim"] - text) // config["addition_time_embed_dim"]
            inputs["added/text_embeds"] = torch.randn((n, text), generator=generator)
            inputs["added/time_ids"] = torch.randint(1024, (n, ids), generator=generator).float()
        write(model, folder, inputs)
