"""Predicted cycles of a step of some networks on some arrays: the table of docs/accelerator.md.

``python -m golden.accelerator.timing.networks`` prints it, a row as soon as it is counted. Networks
but the embedded one have random tables, and 12 bits where calibration usually chooses them.
"""

from collections.abc import Iterator

from golden.accelerator.compiler import compile_artifact
from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.synthetic import synthetic_artifact
from golden.accelerator.timing.budget import default_wide
from golden.accelerator.timing.latencies import Memory
from golden.accelerator.timing.utilisation import utilisation
from golden.calibration.artifact import Artifact, embedded_artifact
from golden.network.config import UNetConfig
from golden.network.presets import preset

__all__ = ["CIFAR10_DDPM", "ROWS", "rows"]

CIFAR10_DDPM = UNetConfig(
    sample_size=(32, 32),
    in_channels=3,
    out_channels=3,
    block_out_channels=(128, 256, 256, 256),
    down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    layers_per_block=2,
    attention_head_dim=None,
)
"""Shape of google/ddpm-cifar10-32: 35.7 M parameters, 6.2 GMAC a step."""

ROWS = (
    ("fashion16", 4, 16_384, 32_768),
    ("fashion16", 8, 8_192, 8_192),
    ("fashion16", 16, 4_096, 4_096),
    ("fashion16", 16, 2_304, 4_096),
    ("fashion16", 32, 4_096, 4_096),
    ("fashion32", 16, 32_768, 16_384),
    ("fashion32", 16, 32_768, 4_096),
    ("CIFAR-10 DDPM", 16, 131_072, 131_072),
    ("CIFAR-10 DDPM", 16, 49_152, 32_768),
)
"""Network, N, words of the stream and of the code scratchpad."""


def _artifact(name: str) -> Artifact:
    if name == "fashion16":
        return embedded_artifact()
    if name == "fashion32":
        config = preset(name)
        return synthetic_artifact(config, default_wide(config))
    return synthetic_artifact(CIFAR10_DDPM, ("conv_in", "conv_out"))


def rows() -> Iterator[str]:
    """Lines of a Markdown table; memory of 16 bytes a cycle and 40 cycles latency."""
    yield (
        "| network | N | stream, code words | cycles | array beats | vector beats | bytes read "
        "| 3x3 convs | step | `network` |"
    )
    yield "|---" + "|---:" * 9 + "|"
    for name, size, stream, codes in ROWS:
        sums = 64 if name.startswith("fashion") and size > 4 else 512
        config = AcceleratorConfig(
            size=size, stream_words=stream, code_words=codes, sum_chunks=sums, channel_tiles=64
        )
        u = utilisation(compile_artifact(_artifact(name), config), Memory())
        shares = " | ".join(f"{100 * share:.1f} %" for share in (u.conv3x3, u.step, u.network))
        yield (
            f"| {name} | {size} | {stream:,}, {codes:,} | {u.cycles:,} | {u.array_beats:,} | "
            f"{u.vector_beats:,} | {u.bytes_read:,} | {shares} |"
        )


if __name__ == "__main__":
    for line in rows():
        print(line, flush=True)
