"""The options of a UNet, read from diffusers' ``config.json``.

Every option of ``UNet2DModel`` is either supported (a field of ``UNetConfig``), allowed with one
value only, or refused by name; nothing is ignored that would change the numbers.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golden.errors import UserError

__all__ = ["UNetConfig"]

DOWN_BLOCKS = ("DownBlock2D", "AttnDownBlock2D")
UP_BLOCKS = ("UpBlock2D", "AttnUpBlock2D")

ONLY_VALUE: dict[str, tuple[Any, ...]] = {
    "_class_name": ("UNet2DModel",),
    "act_fn": ("silu", "swish"),  # two names of one function
    "add_attention": (True,),
    "attn_norm_num_groups": (None,),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "downsample_type": ("conv",),
    "mid_block_scale_factor": (1,),
    "mid_block_type": ("UNetMidBlock2D",),
    "num_class_embeds": (None,),
    "resnet_time_scale_shift": ("default",),
    "time_embedding_type": ("positional",),
    "upsample_type": ("conv",),
}
"""Options with one supported meaning: the values that have it."""

WITHOUT_EFFECT = ("dropout", "num_train_timesteps")
"""Options that do not change the inference of a network with positional time embedding."""


@dataclass(frozen=True)
class UNetConfig:
    """Shape of one UNet; the names and defaults are those of diffusers' ``UNet2DModel``.

    ``sample_size`` is (height, width), 8..64 each. ``attention_head_dim`` ``None`` means one head.
    ``downsample_padding`` 1 pads stride-2 convs on all four sides, 0 pads (0, 1, 0, 1), that is
    right and bottom only. Raises ``UserError`` naming the option if a value is not supported.
    """

    sample_size: tuple[int, int]
    in_channels: int = 3
    out_channels: int = 3
    block_out_channels: tuple[int, ...] = (224, 448, 672, 896)
    down_block_types: tuple[str, ...] = ("DownBlock2D",) + ("AttnDownBlock2D",) * 3
    up_block_types: tuple[str, ...] = ("AttnUpBlock2D",) * 3 + ("UpBlock2D",)
    layers_per_block: int = 2
    attention_head_dim: int | None = 8
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    downsample_padding: int = 1
    flip_sin_to_cos: bool = True
    freq_shift: int = 0
    time_embedding_dim: int | None = None

    def __post_init__(self) -> None:
        for side in self.sample_size:
            self._check_integer("sample_size", side, 8, 64)
        self._check_integer("in_channels", self.in_channels, 1, 4)
        self._check_integer("out_channels", self.out_channels, 1, 4)
        self._check_integer("layers_per_block", self.layers_per_block, 1, 16)
        self._check_integer("norm_num_groups", self.norm_num_groups, 1, 4096)
        self._check_integer("downsample_padding", self.downsample_padding, 0, 1)
        self._check_integer("freq_shift", self.freq_shift, 0, 1)
        for channels in self.block_out_channels:
            self._check_integer("block_out_channels", channels, 1, 4096)
        if self.time_embedding_dim is not None:
            self._check_integer("time_embedding_dim", self.time_embedding_dim, 1, 65536)
        if not isinstance(self.flip_sin_to_cos, bool):
            self._refuse("flip_sin_to_cos", self.flip_sin_to_cos, "true or false")
        eps = self.norm_eps
        if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0 < eps <= 1:
            self._refuse("norm_eps", eps, "a number in (0, 1]")
        self._check_levels()
        self._check_divisors()

    def _check_levels(self) -> None:
        levels = len(self.block_out_channels)
        if not 1 <= levels <= 8:
            self._refuse("block_out_channels", self.block_out_channels, "1 to 8 levels")
        types = (("down_block_types", DOWN_BLOCKS), ("up_block_types", UP_BLOCKS))
        for name, allowed in types:
            value = getattr(self, name)
            for block in value:
                if block not in allowed:
                    self._refuse(name, block, " or ".join(allowed))
            if len(value) != levels:
                self._refuse(name, value, f"{levels} blocks, one for each of block_out_channels")
        for side in self.sample_size:
            if side % (1 << (levels - 1)):
                self._refuse("sample_size", side, f"a multiple of {1 << (levels - 1)}")

    def _check_divisors(self) -> None:
        if self.block_out_channels[0] % 2 or self.block_out_channels[0] < 4:
            self._refuse("block_out_channels", self.block_out_channels, "an even first value >= 4")
        for channels in self.normalized_channels:
            if channels % self.norm_num_groups:
                self._refuse("norm_num_groups", self.norm_num_groups, f"a divisor of {channels}")
        if self.attention_head_dim is not None:
            self._check_integer("attention_head_dim", self.attention_head_dim, 1, 4096)
            for channels in self.attention_channels:
                if channels % self.attention_head_dim:
                    allowed = f"null or a divisor of {channels}"
                    self._refuse("attention_head_dim", self.attention_head_dim, allowed)

    def _check_integer(self, name: str, value: Any, low: int, high: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self._refuse(name, value, f"an integer in {low}..{high}")

    @staticmethod
    def _refuse(name: str, value: Any, allowed: str) -> None:
        raise UserError(f"network option {name} = {value!r} is not supported; allowed: {allowed}")

    @property
    def normalized_channels(self) -> set[int]:
        """Channel counts that some GroupNorm sees, the concatenated skips included."""
        counts = set(self.block_out_channels)
        for block in self.up_block_channels():
            counts |= {inner + skip for inner, skip in block}
        return counts

    @property
    def attention_channels(self) -> set[int]:
        """Channel counts of the attention layers."""
        up = zip(reversed(self.block_out_channels), self.up_block_types, strict=True)
        down = zip(self.block_out_channels, self.down_block_types, strict=True)
        with_attention = {c for c, block in [*down, *up] if block.startswith("Attn")}
        return with_attention | {self.block_out_channels[-1]}

    @property
    def embedding_dim(self) -> int:
        """Length of the time embedding that the residual blocks see."""
        return self.time_embedding_dim or 4 * self.block_out_channels[0]

    def heads(self, channels: int) -> int:
        """Attention heads at ``channels`` channels."""
        return 1 if self.attention_head_dim is None else channels // self.attention_head_dim

    def skip_channels(self) -> list[int]:
        """Channels of the tensors that the down path leaves for the up path, oldest first."""
        channels = self.block_out_channels
        skips = [channels[0]]
        for level, count in enumerate(channels):
            outputs = self.layers_per_block + (level < len(channels) - 1)
            skips += [count] * outputs
        return skips

    def up_block_channels(self) -> list[list[tuple[int, int]]]:
        """For each up block and each of its residual blocks: (channels so far, skip channels)."""
        skips = self.skip_channels()
        current = self.block_out_channels[-1]
        blocks = []
        for out in reversed(self.block_out_channels):
            block = []
            for _ in range(self.layers_per_block + 1):
                block.append((current, skips.pop()))
                current = out
            blocks.append(block)
        return blocks

    @classmethod
    def from_dict(cls, options: Mapping[str, Any], where: str = "config.json") -> "UNetConfig":
        """Read a diffusers configuration; ``UserError`` names ``where`` and the option."""
        fields = {field.name for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        try:
            for name, value in options.items():
                if name in ONLY_VALUE:
                    if value not in ONLY_VALUE[name]:
                        allowed = " or ".join(repr(v) for v in ONLY_VALUE[name])
                        cls._refuse(name, value, allowed)
                elif name in fields:
                    values[name] = tuple(value) if isinstance(value, list) else value
                elif name not in WITHOUT_EFFECT and not name.startswith("_"):
                    cls._refuse(name, value, "leave it out")
            size = values.get("sample_size")
            values["sample_size"] = size if isinstance(size, tuple) else (size, size)
            if len(values["sample_size"]) != 2:
                cls._refuse("sample_size", size, "one integer or [height, width]")
            for name in ("block_out_channels", "down_block_types", "up_block_types"):
                if name in values and not isinstance(values[name], tuple):
                    cls._refuse(name, values[name], "a list")
            return cls(**values)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error

    @classmethod
    def from_file(cls, path: Path) -> "UNetConfig":
        """Read ``config.json``; ``UserError`` if it is missing, not JSON or not supported."""
        try:
            options = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise UserError(f"{path}: is not JSON ({error})") from error
        if not isinstance(options, dict):
            raise UserError(f"{path}: must hold one JSON object, got {type(options).__name__}")
        return cls.from_dict(options, str(path))

    def to_dict(self) -> dict[str, Any]:
        """The configuration as diffusers writes it, to be read by it and by ``from_dict``."""
        height, width = self.sample_size
        options: dict[str, Any] = {"_class_name": "UNet2DModel"}
        options |= {name: values[0] for name, values in ONLY_VALUE.items()}
        options |= {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }
        options["sample_size"] = height if height == width else [height, width]
        return options
