"""A row's code becomes what the array multiplies: an int8 mantissa and a shift flag.

Value seen by the array: ``mantissa * 2**(k if flag else 0)``.

======  ========================  ====  ==========
mode    mantissa                  flag  k
======  ========================  ====  ==========
region  m - z (r = 0), m (r = 1)  r     the tile's
int8    code                      1     the tile's
hi      a >> 4                    1     4
lo      a & 15                    0     0
======  ========================  ====  ==========
"""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from golden.cycles import PipelineModel
from golden.numbers import Int64, as_int64, check_range

__all__ = ["CODE_BITS", "K_MAX", "LATENCY", "OperandMode", "cycle_model", "decoded", "operand"]

CODE_BITS = 12
K_MAX = 4
ZERO_POINT_MAX = 112
LATENCY = 1


class OperandMode(IntEnum):
    """How a 12-bit lane is read; region and int8 use its low 8 bits."""

    REGION = 0
    INT8 = 1
    HI = 2
    LO = 3


def operand(
    codes: npt.ArrayLike,
    pad: npt.ArrayLike,
    mode: npt.ArrayLike,
    zero_point: npt.ArrayLike,
    k: npt.ArrayLike,
) -> tuple[Int64, Int64, Int64]:
    """Return (mantissa, flag, k) of each beat.

    ``codes``: (beats, rows), the 12 bits of a lane, 0..4095. ``pad``: (beats, rows) 0 or 1, forces
    mantissa and flag to 0. ``mode``, ``zero_point`` (0..112), ``k`` (0..4): (beats,).
    Mantissa: (beats, rows) -128..127; flag: (beats, rows) 0 or 1; k: (beats,) 0..4.
    """
    code = check_range(codes, 0, (1 << CODE_BITS) - 1, "codes")
    padded = check_range(pad, 0, 1, "pad")
    beat_mode = check_range(mode, 0, 3, "mode")
    z = check_range(zero_point, 0, ZERO_POINT_MAX, "zero_point")[:, None]
    tile_k = check_range(k, 0, K_MAX, "k")
    low = code & 0xFF
    region = low >> 7
    m = low & 0x7F
    int8 = np.where(low >= 128, low - 256, low)
    hi = np.where(code >= 2048, code - 4096, code) >> 4
    select = beat_mode[:, None]
    is_region, is_int8, is_hi = (select == OperandMode(i) for i in range(3))
    mantissa = np.where(
        is_region,
        np.where(region == 1, m, m - z),
        np.where(is_int8, int8, np.where(is_hi, hi, code & 15)),
    )
    flag = np.where(is_region, region, np.where(is_int8 | is_hi, 1, 0))
    k_out = np.select(
        [beat_mode == OperandMode.HI, beat_mode == OperandMode.LO], [K_MAX, 0], tile_k
    )
    live = 1 - padded
    return mantissa * live, flag * live, as_int64(k_out)


def decoded(mantissa: npt.ArrayLike, flag: npt.ArrayLike, k: npt.ArrayLike) -> Int64:
    """Return the integers that the array multiplies, (beats, rows), within +-2048."""
    shift = as_int64(flag) * as_int64(k)[:, None]
    return as_int64(mantissa) << shift


def cycle_model() -> PipelineModel:
    """One register."""
    return PipelineModel(LATENCY)
