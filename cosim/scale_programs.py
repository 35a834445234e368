"""Random contents of the scale file: boundaries, table sets after each other, steps of tiles."""

from collections.abc import Sequence

import numpy as np

from cosim.stimulus import Parameters
from golden.numbers import Int64
from golden.scale_tables import STEP_BITS, TABLE_SET_BITS, ScaleFileConfig, TableSet, group_of

__all__ = [
    "SETS",
    "Program",
    "bit_program",
    "config_of",
    "random_program",
    "random_set",
    "random_step",
]

SETS = 8  # of a program; at most 8: the low bits of a table set's number
SAME_STEPS = 0.25
SAME_NAME = 0.65
FAR = 0.25  # of the gaps
FAR_STEPS = 0.1
AT_EDGE = 0.8
MIDDLE = (16, 22)
SMALL = 0.25  # of the multipliers

Program = tuple[list[int], list[TableSet]]


def config_of(parameters: Parameters) -> ScaleFileConfig:
    """Return the sizes among ``parameters``; the rest keep their defaults."""
    names = ("groups", "resident_groups", "steps", "channel_tiles", "lanes")
    return ScaleFileConfig(**{name: int(parameters[name]) for name in names if name in parameters})


def random_set(
    rng: np.random.Generator, config: ScaleFileConfig, bank: int, table_set: int,
    groups: range, steps: range,
) -> TableSet:  # fmt: skip
    """Return a set of random constants, every field over its whole range.

    Half of the shifts are ones that leave results inside their range, where every bit shows. Some
    multipliers are small, so that with a small shift the lowest bits of a product count.
    """
    n, channels = len(groups), config.channel_tiles * config.lanes

    def draw(low: int, high: int, *shape: int) -> Int64:
        return rng.integers(low, high + 1, size=shape)

    def shifts(most: int, *shape: int) -> Int64:
        return np.where(rng.random(shape) < 0.5, draw(0, most, *shape), draw(*MIDDLE, *shape))

    def multipliers(*shape: int) -> Int64:
        less = np.where(rng.random(shape) < SMALL, draw(1, 15, *shape), 0)
        return draw(0, 65535, *shape) >> less

    silu = [draw(0, 65535, n), shifts(31, n), draw(0, 112, n), draw(1, 4, n)]
    return TableSet(
        bank, table_set, groups.start, steps.start,
        operand_z=draw(0, 112, n, 2), operand_k=draw(0, 4, n, 2),
        multiplier=multipliers(n, channels), shift=shifts(47, n, channels),
        bias=draw(-32768, 32767, len(steps), channels), silu=np.stack(silu, axis=1),
        edge_multiplier=multipliers(n, 2), edge_shift=shifts(47, n, 2),
    )  # fmt: skip


def random_program(
    rng: np.random.Generator,
    config: ScaleFileConfig,
    before: Sequence[TableSet] = (),
    dense: bool = False,
) -> Program:
    """Return boundaries and sets that alternate between the banks.

    Most boundaries are three steps apart or fewer, so that most sets cross some of them; some are
    far apart and the first is anywhere, so that every bit of a step number counts. Most sets differ
    in one thing alone from the one that they replace, so that a tile which comes too early finds a
    bank that looks right: in the table set, or in the steps, which then mostly lie beside it. The
    first two have the names and steps of the last of ``before``, whose constants are others.
    ``dense``: every step begins a group, and every set holds as many of them as it can.
    """
    gaps = rng.integers(1, rng.integers(2, 5), size=config.groups - 1)
    gaps = np.where(rng.random(len(gaps)) < FAR, rng.integers(1, 128, size=len(gaps)), gaps)
    gaps = np.ones_like(gaps) if dense else gaps
    top = (1 << STEP_BITS) - 1 - config.steps
    low = int(rng.integers(0, top - gaps.sum() + 1))
    boundaries = (low + np.cumsum(gaps)).tolist()

    def near() -> int:
        middle = int(rng.choice(boundaries)) if boundaries else low
        return middle + int(rng.integers(-config.steps, 3))

    sets: list[TableSet] = []
    first_bank = int(rng.integers(0, 2))
    for index in range(SETS):
        bank = (first_bank + index) % 2
        table_set = int(rng.integers(0, 32)) * 8 + index
        start, count = near(), int(rng.integers(1, config.steps + 1))
        choice = rng.random() if index >= 2 and not dense else 1.0
        if dense:
            start, count = max(0, boundaries[0] - 1) if boundaries else low, config.steps
        if index < 2 and before:
            old = [tables for tables in before if tables.bank == bank][-1]
            start, count, table_set = old.step_base, len(old.bias), old.table_set
        elif choice < SAME_STEPS:
            start, count = sets[-2].step_base, len(sets[-2].bias)
        elif choice < SAME_STEPS + SAME_NAME:
            below, above = sets[-2].step_base - count, sets[-2].step_last + 1
            start = below if start - below < above - start else above
            start = start if rng.random() > FAR_STEPS else int(rng.integers(0, top))
            table_set = sets[-2].table_set
        start = min(top, max(0, start))
        steps = _held(config, boundaries, range(start, start + count))
        if any(_both_hold(tables, bank, table_set, steps) for tables in sets):
            table_set = int(rng.integers(0, 32)) * 8 + index
        first, last = (int(group_of(boundaries, step)) for step in (steps[0], steps[-1]))
        groups = range(first, last + 1)
        sets.append(random_set(rng, config, bank, table_set, groups, steps))
    return boundaries, sets


def bit_program(rng: np.random.Generator, config: ScaleFileConfig) -> Program:
    """Return sets of which each second one in a bank differs from the one before in little.

    Both have one name, and steps on either side of a power of two; or the same steps, and names
    that differ in one bit. So every bit of these comparisons decides whether a tile waits.
    """
    most = (1 << STEP_BITS) - 1
    chosen = rng.choice(np.arange(1, most), config.groups - 1, replace=False)
    boundaries = np.sort(chosen).tolist()
    beside = min(2, config.steps)
    pairs = []
    for bit in range(STEP_BITS):
        top, name = 1 << bit, int(rng.integers(0, 8)) * 32 + 2 * bit
        below, above = range(max(0, top - beside), top), range(top, top + beside)
        pairs += [((name, above), (name, below)), ((name + 1, below), (name + 1, above))]
    for bit in range(TABLE_SET_BITS):
        name = int(rng.integers(0, 1 << TABLE_SET_BITS))
        steps = range(most - 8 * bit - beside, most - 8 * bit)
        pairs.append(((name, steps), (name ^ 1 << bit, steps)))
    order = rng.permutation(len(pairs)).tolist()
    sets = []
    for place in range(0, len(pairs), 2):
        two = [pairs[index] for index in order[place : place + 2]]
        for half in range(2):
            for bank, pair in enumerate(two):
                name, steps = pair[half]
                steps = _held(config, boundaries, steps)
                first, last = (int(group_of(boundaries, step)) for step in (steps[0], steps[-1]))
                sets.append(random_set(rng, config, bank, name, range(first, last + 1), steps))
    return boundaries, sets


def _held(config: ScaleFileConfig, boundaries: list[int], steps: range) -> range:
    """Return the first ``steps``, as far as the resident groups go."""
    last = int(group_of(boundaries, steps[0])) + config.resident_groups - 1
    return range(steps[0], min(steps.stop, boundaries[last])) if last < len(boundaries) else steps


def _both_hold(tables: TableSet, bank: int, table_set: int, steps: range) -> bool:
    """Whether a tile of some step would not know which of two sets is meant."""
    same = (tables.bank, tables.table_set) == (bank, table_set)
    return same and steps[0] <= tables.step_last and tables.step_base <= steps[-1]


def random_step(rng: np.random.Generator, boundaries: list[int], tables: TableSet) -> int:
    """Return a step of ``tables``, mostly at its ends or on either side of a boundary."""
    steps = range(tables.step_base, tables.step_last + 1)
    edges = {steps[0], steps[-1], *boundaries, *(boundary - 1 for boundary in boundaries)}
    chosen = sorted(edges & set(steps)) if rng.random() < AT_EDGE else list(steps)
    return int(rng.choice(chosen))
