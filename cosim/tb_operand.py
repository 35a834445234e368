"""Bench of ``operand``: all codes of all modes, every z and k, random pads."""

from itertools import product

import numpy as np

from cosim.stimulus import Parameters, generator, make_case, side_values, stall_choices
from golden.cycles import Case
from golden.operand import cycle_model, operand

__all__ = ["cases"]

BEATS = 600
CORNERS = (0, 127, 128, 255, 2047, 2048, 4095)


def cases(seed: int, parameters: Parameters) -> list[Case]:
    """Return five stall classes over random tiles, the second cut off by a reset."""
    rows, side_width = int(parameters["rows"]), int(parameters.get("side_width", 0))
    result = []
    for index in range(6):
        rng = generator(seed, index)
        codes = rng.integers(0, 4096, size=(BEATS, rows))
        pad = (rng.random((BEATS, rows)) < 0.1).astype(np.int64)
        mode = rng.integers(0, 4, size=BEATS)
        zero_point = rng.choice([0, 1, 37, 111, 112], size=BEATS)
        k = rng.integers(0, 5, size=BEATS)
        # the first beats: ends of every mode, under the least and the largest z
        ends = np.array(list(product(range(4), CORNERS, (0, 112))))
        mode[: len(ends)], zero_point[: len(ends)] = ends[:, 0], ends[:, 2]
        codes[: len(ends), :1] = ends[:, 1:2]
        pad[: len(ends)] = 0
        side = side_values(rng, side_width, BEATS)
        mantissa, flag, k_out = operand(codes, pad, mode, zero_point, k)
        payloads = {
            "i": {"codes": codes, "pad": pad, "mode": mode, "zero_point": zero_point, "k": k,
                  "side": side},
            "o": {"mantissa": mantissa, "flag": flag, "k": k_out, "side": side},
        }  # fmt: skip
        reset_at = int(rng.integers(100, BEATS)) if index == 1 else None
        result.append(
            make_case(
                f"stalls{index}" + ("-reset" if reset_at else ""), "operand", parameters,
                cycle_model(), payloads, stall_choices(("i", "o"), index, seed), seed,
                reset_at=reset_at,
            )
        )  # fmt: skip
    return result
