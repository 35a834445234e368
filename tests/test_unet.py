"""The float UNet against diffusers' ``UNet2DModel``, and the options that it refuses."""

import json
from typing import Any

import pytest
import torch

from golden.errors import UserError
from golden.network.presets import EMBEDDED, PRESETS, preset
from golden.network.unet import Downsample, UNet, UNetConfig, sinusoids

torch.set_num_threads(1)  # test files run side by side

# diffusers imports torch's deprecated script decorators, and warns about them
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

CIFAR10 = {
    "sample_size": 32,
    "block_out_channels": [128, 256, 256, 256],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": None,
    "norm_eps": 1e-6,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
}
SMALL = {
    "sample_size": [16, 8],
    "in_channels": 2,
    "out_channels": 4,
    "block_out_channels": [16, 32, 24],
    "down_block_types": ["AttnDownBlock2D", "DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": 8,
    "norm_num_groups": 4,
    "layers_per_block": 1,
}
CONFIGS = {
    "embedded": json.loads((EMBEDDED / "config.json").read_text()),
    "fashion32": PRESETS["fashion32"].to_dict(),
    "asymmetric padding, heads, 3 levels": {**SMALL, "downsample_padding": 0},
    "symmetric padding, time_embedding_dim": {**SMALL, "time_embedding_dim": 40},
    "CIFAR-10 DDPM": CIFAR10,
}


def random_unet(config, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return UNet(config).eval()


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_diffusers(name):
    from diffusers import UNet2DModel

    options = CONFIGS[name]
    config = UNetConfig.from_dict(options)
    unet = random_unet(config)
    oracle: Any = UNet2DModel(**{k: v for k, v in options.items() if k[0] != "_"})
    oracle.eval()
    oracle.load_state_dict(unet.state_dict(), strict=True)
    x = torch.randn(2, config.in_channels, *config.sample_size, generator=torch.manual_seed(1))
    if name == "CIFAR-10 DDPM":
        x = x[:1]  # 36 million parameters: one image is enough
    timestep = torch.tensor([0, 731])[: len(x)]
    with torch.no_grad():
        ours, theirs = unet(x, timestep), oracle(x, timestep).sample
    # float32 sums in another order: 1e-6 seen, 1e-5 of the output's scale allowed
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_embedded_weights_equal_diffusers():
    from diffusers import UNet2DModel

    from golden.network.checkpoint import embedded_checkpoint

    oracle = UNet2DModel.from_pretrained(EMBEDDED, local_files_only=True, low_cpu_mem_usage=False)
    x = torch.randn(4, 1, 16, 16, generator=torch.manual_seed(2))
    timestep = torch.tensor([0, 20, 500, 999])
    with torch.no_grad():
        ours, theirs = embedded_checkpoint().unet(x, timestep), oracle(x, timestep).sample
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_zero_padding_on_the_right_and_bottom_only():
    layer = Downsample(1, padding=0)
    with torch.no_grad():
        for parameter in layer.conv.parameters():
            parameter.zero_()
        layer.conv.weight[0, 0, 0, 0] = 1  # the top left tap reads the pixel itself
        out = layer(torch.arange(16.0).view(1, 1, 4, 4))
    assert out.flatten().tolist() == [0, 2, 8, 10]


@pytest.mark.parametrize("flip", [False, True])
def test_sinusoids_at_zero(flip):
    assert sinusoids(torch.tensor([0]), 4, flip, 0).tolist() == [
        [1, 1, 0, 0] if flip else [0, 0, 1, 1]
    ]


@pytest.mark.parametrize(("name", "limit"), [("fashion16", 700_000), ("fashion32", 5_000_000)])
def test_preset_size(name, limit):
    assert sum(p.numel() for p in UNet(preset(name)).parameters()) <= limit


def test_unknown_preset():
    with pytest.raises(
        UserError, match="preset 'cats' is not known; allowed: fashion16, fashion32"
    ):
        preset("cats")


@pytest.mark.parametrize("name", CONFIGS)
def test_config_round_trip(name):
    config = UNetConfig.from_dict(CONFIGS[name])
    assert UNetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("center_input_sample", True, "False"),
        ("time_embedding_type", "fourier", "'positional'"),
        ("mid_block_type", None, "'UNetMidBlock2D'"),
        ("mid_block_scale_factor", 2, "1"),
        ("downsample_type", "resnet", "'conv'"),
        ("upsample_type", "resnet", "'conv'"),
        ("act_fn", "gelu", "'silu' or 'swish'"),
        ("attn_norm_num_groups", 4, "None"),
        ("resnet_time_scale_shift", "scale_shift", "'default'"),
        ("add_attention", False, "True"),
        ("class_embed_type", "timestep", "None"),
        ("num_class_embeds", 10, "None"),
        ("_class_name", "UNet2DConditionModel", "'UNet2DModel'"),
        ("cross_attention_dim", 8, "leave it out"),
        ("down_block_types", ["DownBlock2D", "SkipDownBlock2D", "DownBlock2D"], "AttnDownBlock2D"),
        ("down_block_types", ["DownBlock2D"], "3 blocks"),
        ("down_block_types", "DownBlock2D", "a list"),
        ("block_out_channels", [], "1 to 8 levels"),
        ("block_out_channels", [15, 32, 24], "an even first value"),
        ("norm_num_groups", 5, "a divisor of"),
        ("norm_num_groups", True, "an integer"),
        ("attention_head_dim", 7, "null or a divisor of"),
        ("downsample_padding", 2, "an integer in 0..1"),
        ("freq_shift", 0.5, "an integer in 0..1"),
        ("flip_sin_to_cos", 1, "true or false"),
        ("norm_eps", 0, "a number in"),
        ("in_channels", 5, "an integer in 1..4"),
        ("layers_per_block", 0, "an integer in 1..16"),
        ("sample_size", 18, "a multiple of 4"),
        ("sample_size", None, "an integer in"),
        ("sample_size", [16, 16, 16], "one integer or"),
        ("time_embedding_dim", 0, "an integer in"),
    ],
)
def test_unsupported_option_is_named(option, value, allowed):
    with pytest.raises(UserError) as caught:
        UNetConfig.from_dict({**SMALL, option: value}, "somewhere/config.json")
    text = str(caught.value)
    assert text.startswith(f"somewhere/config.json: network option {option} = ")
    assert allowed in text
    assert "\n" not in text


def test_options_without_effect_are_accepted():
    same = {**SMALL, "dropout": 0.1, "num_train_timesteps": 1000, "_diffusers_version": "0.0.4"}
    assert UNetConfig.from_dict(same) == UNetConfig.from_dict(SMALL)
