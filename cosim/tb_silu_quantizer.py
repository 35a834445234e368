"""Bench of ``silu_quantizer``: all 4096 inputs under many constants, both modes, all stalls."""

import numpy as np

from cosim.stimulus import Parameters, generator, make_case, side_values, stall_choices
from golden.cycles import Case
from golden.numbers import Int64, encode_multiplier
from golden.silu_quantizer import (
    K_MAX,
    SHIFT_MAX,
    ZERO_POINT_MAX,
    cycle_model,
    quantize,
    silu_value,
)

__all__ = ["aimed_constants", "cases", "constants", "inputs_case", "separating_constants"]

INPUTS = np.arange(-2048, 2048, dtype=np.int64)
TRIES = 512
LOBE = 0.27847  # depth of SiLU's negative lobe


def constants(rng: np.random.Generator, count: int) -> dict[str, Int64]:
    """Return (count,) wide, multiplier, shift, zero_point, k: a third of them anything allowed.

    The others belong to a step of 0.0025 to 0.06 and have the zero point of that step; a few of all
    have a small multiplier and shift.
    """
    step = 0.0025 * 24 ** rng.random(count)
    encoded = [encode_multiplier(1 / (2048 * float(one)), SHIFT_MAX) for one in step]
    multiplier, shift = (np.array(column, dtype=np.int64) for column in zip(*encoded, strict=True))
    zero_point = np.ceil(LOBE / step).astype(np.int64)
    anything = rng.random(count) < 1 / 3
    multiplier = np.where(anything, rng.integers(0, 1 << 16, size=count), multiplier)
    shift = np.where(anything, rng.integers(0, SHIFT_MAX + 1, size=count), shift)
    small = rng.random(count) < 1 / 16  # the lowest bits of a product count
    multiplier = np.where(small, multiplier >> 10, multiplier)
    shift = np.where(small, shift % 4, shift)
    zero_point = np.where(anything, rng.integers(0, ZERO_POINT_MAX + 1, size=count), zero_point)
    return {
        "wide": rng.integers(0, 2, size=count),
        "multiplier": multiplier,
        "shift": shift,
        "zero_point": zero_point,
        "k": rng.integers(1, K_MAX + 1, size=count),
    }


def aimed_constants(rng: np.random.Generator, u: Int64, segments: int) -> dict[str, Int64]:
    """Return constants that bring the value of each ``u`` (beats,) to a limit or a tie.

    Limits: 2047.5 and 2048 of a wide code, r0 = 127 or 128, 127 of the upper region, r0 = 0, and
    the largest numbers that fit inside the block, each from just below or just above.
    """
    fields = constants(rng, len(u))
    value = silu_value(u, segments)
    z, k = fields["zero_point"], fields["k"]
    limits = np.array(
        [
            np.full(len(u), 2047.5),
            np.full(len(u), 2048.0),
            127.5 - z,
            128.0 - z,
            127.5 * 2**k,
            127.0 * 2**k,
            0.5 - z,
            -0.5 - z,
        ]
    )
    target = limits[rng.integers(0, len(limits), size=len(u)), np.arange(len(u))]
    for beat in range(len(u)):
        real = target[beat] / value[beat] if value[beat] else 0.0
        if real <= 0:
            continue
        multiplier, shift = encode_multiplier(min(real, 65535.0), SHIFT_MAX)
        fields["multiplier"][beat] = np.clip(multiplier + rng.integers(-1, 2), 0, 0xFFFF)
        fields["shift"][beat] = shift
    return fields


def separating_constants(rng: np.random.Generator, value: Int64, step: int) -> dict[str, Int64]:
    """Return (beats,) constants under which ``value`` and ``value + step`` have different codes.

    12-bit codes of values of 16 bits: a step of one shows at every eighth value or fewer, so the
    best of many multipliers is taken.
    """
    count = len(value)
    size = np.maximum(np.abs(value), np.abs(value + step))
    shift = np.minimum(15 + np.ceil(np.log2(np.maximum(size, 1024) / 1024)), SHIFT_MAX)
    shift = shift.astype(np.int64)[:, None]
    multiplier = rng.integers(1 << 14, 1 << 15, size=(count, TRIES))
    half = 1 << (shift - 1)
    codes = [(v[:, None] * multiplier + half) >> shift for v in (value, value + step)]
    best = np.argmax(codes[0] != codes[1], axis=1)
    fields = constants(rng, count)
    fields["multiplier"], fields["shift"] = multiplier[np.arange(count), best], shift[:, 0]
    return fields | {"wide": np.ones(count, dtype=np.int64)}


def inputs_case(
    name: str,
    u: Int64,
    fields: dict[str, Int64],
    index: int,
    seed: int,
    parameters: Parameters,
) -> Case:
    """Return a case of ``u`` (beats, lanes) and ``fields`` (beats,); index 1 is cut by a reset."""
    rng = generator(seed, index, 1)
    side = side_values(rng, int(parameters.get("side_width", 0)), len(u))
    codes = quantize(
        u,
        fields["wide"],
        fields["multiplier"],
        fields["shift"],
        fields["zero_point"],
        fields["k"],
        segments=int(parameters.get("segments", 32)),
    )
    return make_case(
        name,
        "silu_quantizer",
        parameters,
        cycle_model(str(parameters.get("multiplier", "inferred"))),
        {"i": {"u": u, **fields, "side": side}, "o": {"codes": codes, "side": side}},
        stall_choices(("i", "o"), index, seed),
        seed,
        reset_at=int(rng.integers(1, len(u))) if index == 1 else None,
    )


def cases(seed: int, parameters: Parameters) -> list[Case]:
    """Return every stall class over all inputs; every second case aims at limits.

    The constants are new at every beat. The last two cases tell the value of the curve at a lane's
    input, one lane a beat, from the one above and the one below.
    """
    lanes = int(parameters["lanes"])
    beats = -(-len(INPUTS) // lanes)
    result = []
    for index in range(6):
        rng = generator(seed, index)
        u = np.resize(rng.permutation(INPUTS), (beats, lanes))
        name = f"stalls{index}" + ("-reset" if index == 1 else "")
        fields = constants(rng, beats)
        if index % 2:
            fields = aimed_constants(rng, u[:, 0], int(parameters.get("segments", 32)))
        result.append(inputs_case(name, u, fields, index, seed, parameters))
    segments = int(parameters.get("segments", 32))
    for place, step in enumerate((1, -1)):
        rng = generator(seed, len(result))
        u = np.stack([rng.permutation(INPUTS) for _ in range(lanes)], axis=1)
        aimed = u[np.arange(len(u)), np.arange(len(u)) % lanes]
        fields = separating_constants(rng, silu_value(aimed, segments), step)
        result.append(inputs_case(f"values{place}", u, fields, 0, seed, parameters))
    return result
