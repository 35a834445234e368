"""Proof that no accumulator and no product can overflow, whatever the activations are.

For every output channel ``bound = sum over segments of (sum |w|) * max|op|`` with op at its full
decoded value over all passes. ``bound < 2**31`` keeps int32 exact, ``bound * M < 2**47`` keeps the
requantizer's product exact. Python integers: the proof itself cannot overflow.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = [
    "ACC_LIMIT",
    "PRODUCT_LIMIT",
    "WIDE_REACH",
    "channel_bounds",
    "int8_reach",
    "overflow_faults",
    "region_reach",
]

ACC_LIMIT = 1 << 31
PRODUCT_LIMIT = 1 << 47
WIDE_REACH = 2048 + 15  # hi pass -2048..2032, lo pass 0..15, magnitudes of both passes added


def region_reach(zero_point: int, k: int) -> int:
    """Largest |operand| of a region code: m - z below, m * 2**k above."""
    return max(zero_point, 127 - zero_point, 127 << k)


def int8_reach(k: int) -> int:
    """Largest |operand| of an int8 code shifted by ``k``; saturation reaches -128."""
    return 128 << k


def channel_bounds(
    weight: npt.NDArray[np.int8], segments: Sequence[int], reaches: Sequence[int]
) -> list[int]:
    """Largest possible |acc| of each output channel.

    ``weight`` (Cout, Cin, kh, kw) int8; ``segments``: channels of each part, sum Cin; ``reaches``:
    largest |operand| of each part.
    """
    magnitude = np.abs(weight.astype(np.int64))
    edges = np.cumsum([0, *segments])
    if edges[-1] != weight.shape[1] or len(reaches) != len(segments):
        raise ValueError(f"segments {list(segments)} must sum to {weight.shape[1]} input channels")
    parts = [
        [int(s) for s in magnitude[:, edges[i] : edges[i + 1]].sum(axis=(1, 2, 3))]
        for i in range(len(segments))
    ]
    return [
        sum(part[o] * reach for part, reach in zip(parts, reaches, strict=True))
        for o in range(weight.shape[0])
    ]


def overflow_faults(bounds: Sequence[int], multipliers: Sequence[int]) -> list[str]:
    """What is not proven, one line per output channel; empty if everything is."""
    faults = []
    for channel, (bound, multiplier) in enumerate(zip(bounds, multipliers, strict=True)):
        if bound >= ACC_LIMIT:
            faults.append(f"output channel {channel}: |acc| may reach {bound}, limit 2**31 - 1")
        elif bound * multiplier >= PRODUCT_LIMIT:
            faults.append(
                f"output channel {channel}: |acc * M| may reach {bound * multiplier}, "
                "limit 2**47 - 1"
            )
    return faults
