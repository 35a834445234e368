"""Bench of ``scale_file``: random table sets through both banks while three paths use them."""

from collections.abc import Mapping

import numpy as np

from cosim.stimulus import Parameters, generator, make_case, side_values, stall_choices
from golden.cycles import Case
from golden.numbers import Int64
from golden.scale_file import ScaleFileModel
from golden.scale_tables import (
    STEP_BITS,
    ScaleFileConfig,
    Table,
    TableSet,
    group_of,
    lookup,
    writes,
)

__all__ = ["cases", "config_of", "random_program", "random_set"]

CASES = 10
SETS = 6
TILES_PER_SET = 3
MANY = 6
REPEATED = 0.7
FAR = 0.25
PATHS = ScaleFileModel.PATHS


def config_of(parameters: Parameters) -> ScaleFileConfig:
    """Return the sizes among ``parameters``; the rest keep their defaults."""
    names = ("groups", "resident_groups", "steps", "channel_tiles", "lanes")
    return ScaleFileConfig(**{name: int(parameters[name]) for name in names if name in parameters})


def random_set(
    rng: np.random.Generator, config: ScaleFileConfig, bank: int, table_set: int,
    groups: range, steps: range,
) -> TableSet:  # fmt: skip
    """Return a set of random constants, every field over its whole range."""
    n, channels = len(groups), config.channel_tiles * config.lanes

    def draw(low: int, high: int, *shape: int) -> Int64:
        return rng.integers(low, high + 1, size=shape)

    silu = [draw(0, 65535, n), draw(0, 31, n), draw(0, 112, n), draw(1, 4, n)]
    return TableSet(
        bank, table_set, groups.start, steps.start,
        operand_z=draw(0, 112, n, 2), operand_k=draw(0, 4, n, 2),
        multiplier=draw(0, 65535, n, channels), shift=draw(0, 47, n, channels),
        bias=draw(-32768, 32767, len(steps), channels), silu=np.stack(silu, axis=1),
        edge_multiplier=draw(0, 65535, n, 2), edge_shift=draw(0, 47, n, 2),
    )  # fmt: skip


def random_program(
    rng: np.random.Generator, config: ScaleFileConfig
) -> tuple[list[int], list[TableSet]]:
    """Return boundaries and sets that alternate between the banks.

    Most boundaries are three steps apart or fewer, so that most sets cross some of them; some are
    far apart and the first is anywhere, so that every bit of a step number counts. Most sets are
    for the steps of the one that they replace, so that a tile which comes too early finds a bank
    that looks right but for its table set.
    """
    gaps = rng.integers(1, 4, size=config.groups - 1)
    gaps = np.where(rng.random(len(gaps)) < FAR, rng.integers(1, 128, size=len(gaps)), gaps)
    top = (1 << STEP_BITS) - 1 - config.steps
    low = int(rng.integers(0, top - gaps.sum() + 1))
    boundaries = (low + np.cumsum(gaps)).tolist()
    sets: list[TableSet] = []
    for index in range(SETS):
        near = int(rng.choice(boundaries)) if boundaries else low
        start = min(top, max(0, near + int(rng.integers(-config.steps, 3))))
        steps = range(start, start + int(rng.integers(1, config.steps + 1)))
        if index >= 2 and rng.random() < REPEATED:
            steps = range(sets[-2].step_base, sets[-2].step_last + 1)
        while True:
            first, last = (int(group_of(boundaries, step)) for step in (steps[0], steps[-1]))
            if last - first < config.resident_groups:
                break
            steps = steps[:-1]
        groups = range(first, last + 1)
        table_set = int(rng.integers(0, 32)) * 8 + index
        sets.append(random_set(rng, config, index % 2, table_set, groups, steps))
    return boundaries, sets


def _tiles(
    rng: np.random.Generator, config: ScaleFileConfig, sets: list[TableSet], side_width: int
) -> dict[str, Int64]:
    """Return the beats of one path: some tiles of most sets, in the order of the sets."""
    columns: dict[str, list[Int64]] = {}
    for index, tables in enumerate(sets):
        few = TILES_PER_SET if index == 0 else int(rng.choice([0, 1, TILES_PER_SET, MANY]))
        for _ in range(few):
            beats = int(rng.integers(1, 6))
            fields = {
                "bank": tables.bank,
                "table_set": tables.table_set,
                "step": int(rng.integers(tables.step_base, tables.step_last + 1)),
                "segment": int(rng.integers(0, 2)),
                "channel_tile": int(rng.integers(0, config.channel_tiles)),
                "set": index,
            }
            for name, value in fields.items():
                columns.setdefault(name, []).append(np.full(beats, value, dtype=np.int64))
            columns.setdefault("start", []).append(np.arange(beats) == 0)
            columns.setdefault("end", []).append(np.arange(beats) == beats - 1)
            columns.setdefault("side", []).append(side_values(rng, side_width, beats))
    return {name: np.concatenate(parts).astype(np.int64) for name, parts in columns.items()}


def _case(index: int, seed: int, parameters: Parameters) -> Case:
    rng = generator(seed, index)
    config = config_of(parameters)
    boundaries, sets = random_program(rng, config)
    events = writes(config, boundaries, sets)
    sides = {path: int(parameters.get(f"{path}_side", 0)) for path in PATHS}
    tiles = {path: _tiles(rng, config, sets, sides[path]) for path in PATHS}
    constants = {path: lookup(config, boundaries, sets, tiles[path]) for path in PATHS}
    names = ("bank", "table_set", "step", "segment", "channel_tile", "start", "side")
    payloads: dict[str, Mapping[str, Int64]] = {"i_write": events.payload}
    for path in PATHS:
        found = constants[path]
        payloads[f"i_{path}"] = {name: tiles[path][name] for name in names}
        payloads[f"o_{path}"] = {
            "constants": constant_fields(path, found),
            "bank": tiles[path]["bank"],
            "scale_row": found["scale_row"],
            "bias_row": found["bias_row"],
            "side": tiles[path]["side"],
        }
    # the read port looks at what the conv path found, as the datapath does
    found = constants["conv"]
    beats = len(tiles["conv"]["bank"])
    read_side = side_values(rng, int(parameters.get("read_side", 0)), beats)
    payloads["i_read"] = {
        "bank": tiles["conv"]["bank"], "scale_row": found["scale_row"],
        "bias_row": found["bias_row"], "side": read_side,
    }  # fmt: skip
    payloads["o_read"] = {
        "multiplier": found["multiplier"], "shift": found["shift"], "bias": found["bias"],
        "side": read_side,
    }  # fmt: skip

    # Closed loop: a set is overwritten only after every path has used it; a beat is read after
    # its lookup came out; a tile is released when its last beat is delivered (conv: read).
    needs = {path: np.searchsorted(tiles[path]["set"], np.arange(SETS), "right") for path in PATHS}
    write_set = np.cumsum(np.r_[0, (events.payload["table"] == Table.COMMIT)[:-1]])

    def allowed(got: Mapping[str, int]) -> Mapping[str, int]:
        done = SETS
        for path in PATHS:
            output = "o_read" if path == "conv" else f"o_{path}"
            done = min(done, int(np.searchsorted(needs[path], got[output], "right")))
        limit = int(np.searchsorted(write_set, done + 2, "left"))
        return {"i_write": limit, "i_read": got["o_conv"]}

    def feedback(offered: Mapping[str, int], ready: Mapping[str, bool]) -> Mapping[str, int]:
        plain = {}
        for path in PATHS:
            output = "o_read" if path == "conv" else f"o_{path}"
            beat = offered[output]
            ends = beat >= 0 and ready[output] and tiles[path]["end"][beat]
            plain[f"release_{path}"] = int(ends)
            plain[f"release_{path}_bank"] = int(tiles[path]["bank"][beat]) if ends else 0
        return plain

    model = ScaleFileModel(tiles, events, sets)
    reset_at = int(rng.integers(20, 400)) if index == 1 else None
    return make_case(
        f"stalls{index}" + ("-reset" if reset_at else ""), "scale_file", parameters, model,
        payloads, stall_choices((*model.inputs, *model.outputs), index, seed), seed,
        reset_at=reset_at, groups=found["group"], feedback=feedback, allowed=allowed,
    )  # fmt: skip


def constant_fields(path: str, found: Mapping[str, Int64]) -> Int64:
    """Return the constants of a path as packed bits, (beats,)."""
    if path == "conv":
        return found["operand_z"] | found["operand_k"] << 7
    if path == "edge":
        return found["edge_multiplier"] | found["edge_shift"] << 16
    m0, n0, z, k = found["silu"].T
    return m0 | n0 << 16 | z << 21 | k << 28


def cases(seed: int, parameters: Parameters) -> list[Case]:
    """Return random sets under every stall class, twice; the second case is cut off by a reset."""
    return [_case(index, seed, parameters) for index in range(CASES)]
