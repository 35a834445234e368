"""Bench of ``requantizer``: corner operands, random ones in useful ranges, counter and clear."""

from itertools import product

import numpy as np

from cosim.stimulus import Parameters, generator, make_case, side_values, stall_choices
from golden.cycles import Case
from golden.numbers import SHIFT_MAX, Int64
from golden.requantizer import MULTIPLIER_MAX, cycle_model, requantize_counted

__all__ = ["cases", "corner_operands", "operands_case", "random_operands"]

BEATS = 400
BITS = 7
Operands = dict[str, Int64]


def corner_operands(acc_width: int, bias_width: int) -> Operands:
    """Return (elements,) acc, multiplier, shift, bias: the product of all corner values.

    Ties of both signs come with acc and M that are odd multiples of a power of two.
    """
    top = 1 << (acc_width - 1)
    bias_top = 1 << (bias_width - 1) if bias_width else 0
    bias = {-bias_top, -bias_top // 2, -1, 0, 1, bias_top - 1} if bias_width else {0}
    acc = {-top, -top + 1, -top // 2, -3, -2, -1, 0, 1, 2, 3, top // 2, top - 2, top - 1}
    multiplier = {0, 1, 1 << 14, 1 << 15, (1 << 15) + 1, MULTIPLIER_MAX - 1, MULTIPLIER_MAX}
    shift = {0, 1, 2, 15, 16, 17, 30, 31, 32, 33, SHIFT_MAX - 1, SHIFT_MAX}
    grid = np.array(list(product(*map(sorted, (acc, multiplier, shift, bias)))), dtype=np.int64)
    # values at the limits of both widths and one beyond, as they are: acc * 2**15 >> 15
    limits = [v for width in (8, 16) for v in (1 << (width - 1), -1 << (width - 1))]
    plain = [(v + d, 1 << 15, 15, 0) for v in limits for d in (-1, 0, 1) if -top <= v + d < top]
    grid = np.concatenate([grid, np.array(plain * 8, dtype=np.int64)])
    return dict(zip(("acc", "multiplier", "shift", "bias"), grid.T, strict=True))


def random_operands(
    rng: np.random.Generator, count: int, acc_width: int, out_width: int, bias_width: int
) -> Operands:
    """Return (count,) operands: half with any shift, half near the output's limits."""
    top = 1 << (acc_width - 1)
    bits = rng.integers(1, acc_width, size=count)
    acc = np.clip(rng.integers(-top, top, size=count) >> (acc_width - 1 - bits), -top, top - 1)
    multiplier = rng.integers(1 << 15, 1 << 16, size=count)
    anything = rng.random(count) < 0.1
    multiplier[anything] = rng.integers(0, 1 << 16, size=int(anything.sum()))
    # |acc * M| is about 2**(bits + 16): shift it to the output's limit, a few bits either way.
    shift = np.clip(bits + 16 - out_width + rng.integers(-3, 5, size=count), 0, SHIFT_MAX)
    free = rng.random(count) < 0.5
    shift[free] = rng.integers(0, SHIFT_MAX + 1, size=int(free.sum()))
    bias = np.zeros(count, dtype=np.int64)
    if bias_width:
        reach = rng.integers(0, bias_width, size=count)
        half = 1 << (bias_width - 1)
        bias = rng.integers(-half, half, size=count) >> reach
    return {"acc": acc, "multiplier": multiplier, "shift": shift, "bias": bias}


def bit_operands(rng: np.random.Generator, acc_width: int) -> Operands:
    """Return (elements,) operands whose product is just beyond a power of two, with every shift.

    One bit beyond the window alone then says that the result saturates.
    """
    top = 1 << (acc_width - 1)
    bit, shift = np.divmod(np.arange((acc_width + 15) * (SHIFT_MAX + 1)), SHIFT_MAX + 1)
    power = np.int64(1) << bit
    multiplier = np.where(bit < 16, 1, rng.integers(1 << 14, 1 << 16, size=len(bit)))
    acc = np.minimum(-(-power // multiplier), top - 1)
    bias = np.zeros(len(bit), dtype=np.int64)
    sides = [{"acc": sign * acc - (bit < 16) * (sign < 0)} for sign in (1, -1)]
    both = [side | {"multiplier": multiplier, "shift": shift, "bias": bias} for side in sides]
    return {name: np.concatenate([one[name] for one in both]) for name in both[0]}


def operands_case(
    name: str, operands: Operands, index: int, seed: int, parameters: Parameters
) -> Case:
    """Return a case of (elements,) ``operands``, filled up by repeats to whole beats.

    ``index`` chooses the stalls; ``clear`` comes at random, rarely; index 1 is cut by a reset.
    """
    lanes = int(parameters["lanes"])
    acc_width = int(parameters.get("acc_width", 32))
    out_width = int(parameters.get("out_width", 16))
    narrow_width = int(parameters.get("narrow_width", 8))
    count_width = int(parameters.get("count_width", 32))
    side_width = int(parameters.get("side_width", 0))
    rng = generator(seed, index, 1)
    elements = len(operands["acc"])
    beats = -(-elements // lanes)
    fields = {field: np.resize(values, (beats, lanes)) for field, values in operands.items()}
    narrow = rng.integers(0, 2, size=beats)
    side = side_values(rng, side_width, beats)
    width = np.where(narrow == 1, narrow_width, out_width)[:, None]
    values, saturated = requantize_counted(
        fields["acc"], fields["multiplier"], fields["shift"], fields["bias"], width
    )
    clear = (rng.random(3 * beats) < 0.01).astype(np.int64)
    model = cycle_model(saturated.sum(axis=1), acc_width=acc_width, count_width=count_width)
    return make_case(
        name,
        "requantizer",
        parameters,
        model,
        {"i": {**fields, "narrow": narrow, "side": side}, "o": {"values": values, "side": side}},
        stall_choices(("i", "o"), index, seed),
        seed,
        reset_at=int(rng.integers(1, beats)) if index == 1 else None,
        plain_in={"clear": clear},
    )


def cases(seed: int, parameters: Parameters) -> list[Case]:
    """Return the corner product without stalls, then random operands under every stall class."""
    acc_width = int(parameters.get("acc_width", 32))
    out_width = int(parameters.get("out_width", 16))
    bias_width = int(parameters.get("bias_width", 16))
    lanes = int(parameters["lanes"])
    corners = corner_operands(acc_width, bias_width)
    result = [operands_case("corners", corners, 0, seed, parameters)]
    for index in range(1, 7):
        operands = random_operands(
            generator(seed, index), BEATS * lanes, acc_width, out_width, bias_width
        )
        name = f"stalls{index}" + ("-reset" if index == 1 else "")
        result.append(operands_case(name, operands, index, seed, parameters))
    bits = bit_operands(generator(seed, BITS), acc_width)
    result.append(operands_case("bits", bits, 0, seed, parameters))
    return result
