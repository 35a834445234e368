import numpy as np
import pytest

from golden.calibration.overflow import (
    WIDE_REACH,
    channel_bounds,
    int8_reach,
    overflow_faults,
    region_reach,
)
from golden.operand import OperandMode, decoded, operand
from golden.silu_quantizer import decode_region


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("z", [0, 1, 63, 64, 112])
def test_region_reach_is_the_largest_decoded_code(z, k):
    assert region_reach(z, k) == np.abs(decode_region(np.arange(256), z, k)).max()


@pytest.mark.parametrize("k", range(5))
def test_int8_reach_is_the_largest_operand(k):
    mantissa, flag, k_out = operand(np.arange(256)[None], np.zeros((1, 256), int),
                                    [OperandMode.INT8], [0], [k])  # fmt: skip
    assert int8_reach(k) == np.abs(decoded(mantissa, flag, k_out)).max()


def test_wide_reach_covers_both_passes():
    codes, pad = np.arange(4096)[None], np.zeros((1, 4096), int)
    total = sum(
        np.abs(decoded(*operand(codes, pad, [mode], [0], [0]))).max()
        for mode in (OperandMode.HI, OperandMode.LO)
    )
    assert total == WIDE_REACH


def test_an_adversary_reaches_the_bound_and_cannot_pass_it():
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (6, 5, 3, 3)).astype(np.int8)
    segments, reaches = (2, 3), (127 << 4, 128 << 2)
    bounds = channel_bounds(weight, segments, reaches)
    limit = np.repeat(reaches, segments)[:, None, None].astype(object)
    for o in range(6):
        worst = np.sign(weight[o].astype(object)) * limit  # every product at its largest
        acc = int((worst * weight[o].astype(object)).sum())
        assert acc == bounds[o]
        for _ in range(20):
            other = rng.integers(-1, 2, (5, 3, 3)).astype(object) * limit
            assert abs(int((other * weight[o].astype(object)).sum())) <= bounds[o]


def test_segments_must_cover_the_input():
    with pytest.raises(ValueError, match="must sum to 5 input channels"):
        channel_bounds(np.zeros((1, 5, 1, 1), np.int8), (2, 2), (1, 1))


def test_limits_are_exclusive():
    assert overflow_faults([2**31 - 1], [65535]) == []
    assert overflow_faults([2**31], [0]) == [
        "output channel 0: |acc| may reach 2147483648, limit 2**31 - 1"
    ]
    assert overflow_faults([0, 2**31 - 1], [0, 65537]) == [
        f"output channel 1: |acc * M| may reach {(2**31 - 1) * 65537}, limit 2**47 - 1"
    ]
