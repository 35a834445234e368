"""Sizes of an accelerator, as its Verilog is generated and its programs are compiled for."""

from collections.abc import Mapping
from dataclasses import dataclass

from golden.errors import UserError

__all__ = [
    "ADDRESS_BITS",
    "CODE_BANKS",
    "IMAGE_CHANNELS_MAX",
    "SIZES",
    "AcceleratorConfig",
    "SizeError",
]

SIZES = (4, 8, 16, 32)
CODE_BANKS = 2
ADDRESS_BITS = 24
IMAGE_CHANNELS_MAX = 4
"""Channels of an image: what the windows of the first conv and the sampler hold."""


@dataclass(frozen=True)
class AcceleratorConfig:
    """An array of ``size`` x ``size`` and its memories; a chunk is ``size`` channels.

    ``stream_words``: words of size x int16, in ``stream_banks`` banks. ``code_words``: words of
    size x 12 bits, in two banks. ``sum_chunks``: channel sums of so many chunks. ``depth``: pixels
    of an output tile. ``channel_tiles``: output chunks of a layer, as the scale file holds them.
    ``UserError`` for a value that is not allowed.
    """

    size: int = 16
    stream_words: int = 4096
    stream_banks: int = 2
    code_words: int = 4096
    sum_chunks: int = 64
    depth: int = 256
    channel_tiles: int = 32

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            allowed = ", ".join(map(str, SIZES))
            raise UserError(f"size = {self.size} is not allowed; allowed: {allowed}")
        if self.stream_banks not in (1, 2, 4, 8):
            raise UserError(
                f"stream_banks = {self.stream_banks} is not allowed; allowed: 1, 2, 4, 8"
            )
        ranges = {
            "stream_words": (1 << ADDRESS_BITS, self.stream_banks),
            "code_words": (1 << ADDRESS_BITS, CODE_BANKS),
            "sum_chunks": (4096, 1),
            "depth": (4096, 1),
            "channel_tiles": (255, 1),
        }
        for name, (top, step) in ranges.items():
            value = getattr(self, name)
            if not step <= value <= top or value % step:
                multiple = f"a multiple of {step} in " if step > 1 else "an integer in "
                raise UserError(
                    f"{name} = {value} is not allowed; allowed: {multiple}{step}..{top}"
                )

    @property
    def code_bank_words(self) -> int:
        """Words of one bank of the code scratchpad."""
        return self.code_words // CODE_BANKS

    @property
    def word_bytes(self) -> int:
        """Bytes of a stream word in memory."""
        return 2 * self.size

    def chunks(self, channels: int) -> int:
        """Chunks of so many channels."""
        return -(-channels // self.size)


class SizeError(UserError):
    """A network needs larger memories: ``needed`` by parameter of the configuration."""

    def __init__(self, needed: Mapping[str, int], config: AcceleratorConfig, what: str) -> None:
        self.needed = dict(needed)
        have = ", ".join(f"{name} = {getattr(config, name)}" for name in needed)
        fits = ", ".join(f"{name} = {value}" for name, value in needed.items())
        super().__init__(f"{what} does not fit {have}; allowed: larger, {fits} is enough")
