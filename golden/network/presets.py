"""Networks that ``stepscale train`` knows by name."""

from pathlib import Path

from golden.errors import UserError
from golden.network.config import UNetConfig

__all__ = ["EMBEDDED", "PRESETS", "preset"]

EMBEDDED = Path(__file__).parent / "data" / "fashion16"

PRESETS: dict[str, UNetConfig] = {
    # attention at 8x8 only: down block 2, mid block, up block 1
    "fashion16": UNetConfig(
        sample_size=(16, 16),
        in_channels=1,
        out_channels=1,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=None,
        norm_num_groups=8,
        time_embedding_dim=96,  # 128, the default, would pass 0.7 M parameters
    ),
    # attention at 8x8 only: down block 3, mid block, up block 1
    "fashion32": UNetConfig(
        sample_size=(32, 32),
        in_channels=1,
        out_channels=1,
        block_out_channels=(48, 96, 128),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        attention_head_dim=None,
        norm_num_groups=8,
        time_embedding_dim=128,  # keeps it below 5 M parameters
    ),
}


def preset(name: str) -> UNetConfig:
    """Return the network called ``name``; ``UserError`` lists the names."""
    if name not in PRESETS:
        raise UserError(f"preset {name!r} is not known; allowed: {', '.join(PRESETS)}")
    return PRESETS[name]
