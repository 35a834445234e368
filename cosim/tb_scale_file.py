"""Bench of ``scale_file``: random table sets through both banks while three paths use them."""

from collections.abc import Callable, Mapping

import numpy as np

from cosim.scale_order import bank_waits, restart
from cosim.scale_programs import (
    SETS,
    Program,
    bit_program,
    config_of,
    random_program,
    random_step,
)
from cosim.scale_writes import all_writes
from cosim.stimulus import Parameters, generator, make_case, side_values, stall_choices
from golden.cycles import Case
from golden.numbers import Int64
from golden.order import Answer, Wait
from golden.scale_file import ScaleFileModel
from golden.scale_tables import ScaleFileConfig, WriteEvents, lookup

__all__ = ["cases"]

CASES = 16
DENSE = 12  # every step begins a group and has its tiles, and nobody stalls
DENSE_BEATS = 4
RESETS = (1, 4)
CROWDED = 5
CROWD = 140  # more than half of what a counter of tiles in flight holds
TWICE = (2, 3, 6, 7, 8, 9, 10, 11)
TILES_PER_SET = 3
MANY = 6
BITS = (13, 14)  # every bit of a name and a step decides once; the second with stalls
BITS_STALLS = 3
MEETS = 15  # a write meets the tile that enters its bank, and nobody stalls
SHORT_BEATS = 3
ENTERS = 1  # cycles from the one behind a tile's first beat to the one in which it enters its bank
LATE = 4  # cycles
PATHS = ScaleFileModel.PATHS


def _tiles(
    rng: np.random.Generator, config: ScaleFileConfig, program: Program, side_width: int,
    crowd: int, dense: bool, few_of: Callable[[int], int] | None,
) -> dict[str, Int64]:  # fmt: skip
    """Return the beats of one path: some tiles of most sets, in the order of the sets.

    Each of the first two sets has ``crowd`` tiles of one beat, if that is not 0. ``dense``: they
    have a tile of ``DENSE_BEATS`` for every one of their steps, in order. ``few_of``: set to its
    number of tiles, each of ``SHORT_BEATS``.

    Tiles of the last set have one beat, so that one can stand before its check with none in flight.
    """
    boundaries, sets = program
    columns: dict[str, list[Int64]] = {}
    for index, tables in enumerate(sets):
        few = TILES_PER_SET if index == 0 else int(rng.choice([0, 1, TILES_PER_SET, MANY]))
        crowded = crowd and index < 2
        single = crowded or index == len(sets) - 1
        every = dense and index < 2
        few = len(tables.bias) if every else few
        few = few_of(index) if few_of else few
        for number in range(crowd if crowded else few):
            beats = 1 if single else int(rng.integers(1, 6))
            beats = DENSE_BEATS if every else SHORT_BEATS if few_of else beats
            step = random_step(rng, boundaries, tables)
            if few_of:  # the one at the power of two
                low = tables.step_base
                step = tables.step_last if low & (low - 1) else low
            fields = {
                "bank": tables.bank,
                "table_set": tables.table_set,
                "step": tables.step_base + number if every else step,
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


def _joined(parts: list[dict[str, Int64]]) -> dict[str, Int64]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _order(
    events: WriteEvents, tiles: Mapping[str, Mapping[str, Int64]], starts: list[int],
    straggler: str, held: bool, late: bool,
) -> dict[str, list[Wait]]:  # fmt: skip
    """Who waits for whom: writes, tiles and reads.

    A set is overwritten only after every path has used it. Boundaries are written anew when every
    tile of the earlier sets has gone in, and tiles of later sets wait for that; a last beat of
    ``straggler`` in the last set goes in when all others are out. A beat is read after its lookup
    came out (``held``: after all of the first two sets). ``late``: a set is written when its first
    tile has waited on every path for some cycles, in front of the set that it replaces.
    """
    sets_of = {path: tiles[path]["set"] for path in PATHS}
    write_set = np.cumsum(np.r_[0, events.commits[:-1] >= 0])
    sets = int(write_set[-1]) + 1
    delivered = {_last_of(path): found for path, found in sets_of.items()}
    order: dict[str, list[Wait]] = {"i_write": bank_waits(write_set, delivered, sets)}
    first_reads = int(np.searchsorted(sets_of["conv"], 2)) if held else 0
    order["i_read"] = [
        Wait(beat, {"o_conv": max(beat + 1, first_reads)}) for beat in range(len(sets_of["conv"]))
    ]
    for first in starts[1:]:
        before = {path: int(np.searchsorted(found, first)) for path, found in sets_of.items()}
        if sets_of[straggler][before[straggler] - 1] == first - 1:
            last = before[straggler] - 1
            out = {_last_of(path): before[path] - (path == straggler) for path in PATHS}
            order.setdefault(f"i_{straggler}", []).append(Wait(last, out))
        begin = int(np.searchsorted(write_set, first))
        restart(order, begin, {f"i_{path}": beats for path, beats in before.items()})
    for number in range(2, sets) if late else ():
        firsts = {f"i_{p}": int(np.searchsorted(found, number)) + 1 for p, found in sets_of.items()}
        order["i_write"].append(Wait(int(np.searchsorted(write_set, number)), firsts, LATE))
    return order


def _meetings(
    events: WriteEvents, tiles: Mapping[str, Mapping[str, Int64]]
) -> dict[str, list[Wait]]:
    """Return waits: the only tile of a set goes in when the set after it is written.

    The next set of its bank is offered as the tile enters, every third one a cycle later.
    """
    write_set = np.cumsum(np.r_[0, events.commits[:-1] >= 0])
    order: dict[str, list[Wait]] = {f"i_{name}": [] for name in (*PATHS, "write")}
    for number in range(int(write_set[-1]) + 1):
        path, begin = _only_path(number), int(np.searchsorted(write_set, number + 2))
        first = int(np.searchsorted(tiles[path]["set"], number))
        order[f"i_{path}"].append(Wait(first, {"i_write": begin}))
        if begin < len(write_set):
            order["i_write"].append(
                Wait(begin, {f"i_{path}": first + 1}, ENTERS + (number % 3 == 2))
            )
    return order


def _only_path(number: int) -> str:
    """Path of the one tile of a set."""
    return PATHS[number % len(PATHS)]


def _answers(tiles: Mapping[str, Mapping[str, Int64]]) -> dict[str, Answer]:
    """Return the releases: a tile's when its last beat is delivered (conv: read).

    The bank beside one that is not made is any.
    """
    answers = {}
    for path in PATHS:
        end, bank = tiles[path]["end"].tolist(), tiles[path]["bank"].tolist()
        answers[f"release_{path}"] = Answer(_last_of(path), end, taken=True)
        answers[f"release_{path}_bank"] = Answer(_last_of(path), bank, idle=1)
    return answers


def _last_of(path: str) -> str:
    return "o_read" if path == "conv" else f"o_{path}"


def _programs(
    rng: np.random.Generator, config: ScaleFileConfig, index: int
) -> tuple[list[Program], list[int], WriteEvents]:
    """Return one program, or two one after the other; the first set of each; the writes."""
    if index in (*BITS, MEETS):
        programs = [bit_program(rng, config)]
    else:
        programs = [random_program(rng, config, dense=index == DENSE)]
    if index in TWICE and config.groups > 1:
        programs.append(random_program(rng, config, programs[0][1]))
    starts = [place * SETS for place in range(len(programs))]
    return programs, starts, all_writes(rng, config, programs)


def _few_of(index: int, path: str) -> Callable[[int], int] | None:
    """Return the number of tiles of each set on a path, where a case says it."""
    if index == MEETS:
        return lambda number: int(path == _only_path(number))
    return (lambda _: 1) if index in BITS else None


def _case(index: int, seed: int, parameters: Parameters) -> Case:
    rng = generator(seed, index)
    config = config_of(parameters)
    programs, starts, events = _programs(rng, config, index)
    tiles: dict[str, dict[str, Int64]] = {}
    constants: dict[str, dict[str, Int64]] = {}
    for path in PATHS:
        width = int(parameters.get(f"{path}_side", 0))
        crowd = CROWD if path == "conv" and index == CROWDED else 0
        dense = index == DENSE
        few_of = _few_of(index, path)
        parts = [_tiles(rng, config, program, width, crowd, dense, few_of) for program in programs]
        constants[path] = _joined(
            [lookup(config, *program, part) for program, part in zip(programs, parts, strict=True)]
        )
        for part, first in zip(parts, starts, strict=True):
            part["set"] += first
        tiles[path] = _joined(parts)
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
    model = ScaleFileModel(tiles, events, [tables for _, sets in programs for tables in sets])
    order = _order(
        events, tiles, starts, PATHS[index % len(PATHS)], index == CROWDED, index in BITS
    )
    if index == MEETS:
        order |= _meetings(events, tiles)
    reset_at = int(rng.integers(20, 1000)) if index in RESETS else None
    stalls = {DENSE: 0, BITS[0]: 0, BITS[1]: BITS_STALLS, MEETS: 0}.get(index, index)
    return make_case(
        f"stalls{index}" + ("-reset" if reset_at else ""), "scale_file", parameters, model,
        payloads, stall_choices((*model.inputs, *model.outputs), stalls, seed), seed,
        reset_at=reset_at, groups=found["group"], order=order, answers=_answers(tiles),
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
    """Return random sets under every stall class, twice; some cases are cut off by a reset."""
    return [_case(index, seed, parameters) for index in range(CASES)]
