"""Bench of ``mac_array``: tiles of one beat up, weights early and late, extreme operands."""

import numpy as np

from cosim.stimulus import Parameters, generator, make_case, side_values, stall_choices
from golden.cycles import Case
from golden.mac_array import MacArrayModel, mac_array

__all__ = ["cases"]

TILES = 24
EXTREMES = np.array([-128, -127, -1, 0, 1, 127])


def cases(seed: int, parameters: Parameters) -> list[Case]:
    """Return five stall classes over random tiles, the second cut off by a reset.

    Tile lengths are 1, rows - 1, rows, rows + 1 or random, so that weights limit the tiles,
    just keep up, or wait.
    """
    rows, cols = int(parameters["rows"]), int(parameters["cols"])
    decode, pipeline = str(parameters.get("decode", "edge")), int(parameters.get("pipeline", 1))
    multiplier = str(parameters.get("multiplier", "inferred"))
    side_width = int(parameters.get("side_width", 0))
    result = []
    for index in range(6):
        rng = generator(seed, index)
        lengths = rng.choice([1, max(1, rows - 1), rows, rows + 1, rows + 9], size=TILES)
        beats = int(lengths.sum())
        tile_start = np.zeros(beats, dtype=np.int64)
        tile_start[np.cumsum(lengths) - lengths] = 1
        mantissa = rng.integers(-128, 128, size=(beats, rows))
        weights = rng.integers(-128, 128, size=(TILES, rows, cols))
        weights[0] = rng.choice(EXTREMES, size=(rows, cols))
        mantissa[: lengths[0]] = rng.choice(EXTREMES, size=(lengths[0], rows))
        flag = rng.integers(0, 2, size=(beats, rows))
        k = rng.integers(0, 5, size=beats)
        side = side_values(rng, side_width, beats)
        payloads = {
            "i": {"mantissa": mantissa, "flag": flag, "k": k, "tile_start": tile_start,
                  "side": side},
            "i_weights": {"weights": weights.reshape(-1, cols)},
            "o": {"sums": mac_array(mantissa, flag, k, tile_start, weights), "side": side},
        }  # fmt: skip
        reset_at = int(rng.integers(1, beats)) if index == 1 else None
        result.append(
            make_case(
                f"stalls{index}" + ("-reset" if reset_at else ""), "mac_array", parameters,
                MacArrayModel(tile_start, rows, decode, pipeline, multiplier), payloads,
                stall_choices(("i", "i_weights", "o"), index, seed), seed, reset_at=reset_at,
            )
        )  # fmt: skip
    return result
