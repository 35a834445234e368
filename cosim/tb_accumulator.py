"""Bench of ``accumulator``: tiles of one pixel up, any number of passes, pixels at any distance."""

import numpy as np

from cosim.stimulus import Parameters, generator, make_case, side_values, stall_choices
from golden.accumulator import AccumulatorModel, accumulator, tile_ends
from golden.cycles import Case
from golden.numbers import Int64

__all__ = ["cases"]

TILES = 16


def tile(rng: np.random.Generator, pixels: int, passes: int, shuffled: bool) -> dict[str, Int64]:
    """Return pixel, first, last and end of one tile's beats.

    ``shuffled``: the middle passes visit random pixels, twice in a row now and then.
    """
    order = [np.arange(pixels) for _ in range(passes)]
    if shuffled:
        for index in range(1, passes - 1):
            order[index] = rng.integers(0, pixels, size=pixels)
    pixel = np.concatenate(order).astype(np.int64)
    first = np.zeros(len(pixel), dtype=np.int64)
    last = np.zeros(len(pixel), dtype=np.int64)
    first[:pixels] = 1
    last[-pixels:] = 1
    end = (pixel == pixels - 1).astype(np.int64)
    return {"pixel": pixel, "first": first, "last": last, "end": end}


def cases(seed: int, parameters: Parameters) -> list[Case]:
    """Return five stall classes over random tiles, the second cut off by a reset."""
    depth, cols = int(parameters["depth"]), int(parameters["cols"])
    sum_width, side_width = int(parameters["sum_width"]), int(parameters.get("side_width", 0))
    limit = 1 << (sum_width - 1)
    result = []
    for index in range(6):
        rng = generator(seed, index)
        sizes = np.minimum(rng.choice([1, 2, 3, 4, 5, depth], size=TILES), depth)
        tiles = [
            tile(rng, int(pixels), int(rng.choice([1, 2, 3, 5])), bool(rng.integers(0, 2)))
            for pixels in sizes
        ]
        fields = {key: np.concatenate([part[key] for part in tiles]) for key in tiles[0]}
        beats = len(fields["pixel"])
        sums = rng.integers(-limit, limit, size=(beats, cols))
        side = side_values(rng, side_width, beats)
        acc, pixel, end = accumulator(
            sums, fields["pixel"], fields["first"], fields["last"], fields["end"]
        )
        finished = tile_ends(fields["last"], fields["end"])
        tile_of_output = np.repeat(np.arange(TILES), sizes)
        payloads = {
            "i": {"sums": sums, **fields, "side": side},
            "o": {"acc": acc, "pixel": pixel, "end": end, "side": side[finished][tile_of_output]},
        }
        reset_at = int(rng.integers(1, beats)) if index == 1 else None
        result.append(
            make_case(
                f"stalls{index}" + ("-reset" if reset_at else ""), "accumulator", parameters,
                AccumulatorModel(fields["pixel"], fields["last"], fields["end"]), payloads,
                stall_choices(("i", "o"), index, seed), seed, reset_at=reset_at,
            )
        )  # fmt: skip
    return result
