"""The array's unit: every read and every value of random legal instructions, in order."""

import importlib
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hdl
from golden.accelerator.instruction import Instruction, Opcode
from hdl.transposer import Transposer
from tests.array_bench import ValuesBench
from tests.array_programs import CONFIG, random_program


def program_of(*instructions):
    """A program of (opcode, fields); fields beyond the common ones."""
    program = random_program(1, 0)
    common = {"bank": 0, "table_set": program.sets[0].table_set, "height": 4, "width": 4}
    common |= {"rows": 4, "tile_rows": 4, "source_plane": 16, "destination_plane": 16}
    program.instructions = [Instruction(opcode, common | fields) for opcode, fields in instructions]
    return program


def run(program, **keywords):
    bench = ValuesBench(program, **keywords)
    bench.run()
    assert bench.differences == []
    return bench


# Random instructions


@pytest.mark.parametrize("stall", [0.0, 0.3], ids=["flows", "stalls"])
@pytest.mark.parametrize("seed", [1, 11])
def test_convs(seed, stall):
    run(random_program(seed, 2, opcodes=(Opcode.CONV,)), seed=seed, stall=stall)


@pytest.mark.parametrize("stall", [0.0, 0.3], ids=["flows", "stalls"])
def test_matmuls(stall):
    run(random_program(3, 8, opcodes=(Opcode.MATMUL,)), seed=3, stall=stall)


@pytest.mark.parametrize("stall", [0.0, 0.15], ids=["flows", "stalls"])
def test_a_mix(stall):
    run(random_program(9, 3), seed=9, stall=stall)


@pytest.mark.parametrize("seed", [1, 2])
def test_matmuls_of_eight_lanes(seed):
    """More rows than a reader's buffer holds."""
    config = replace(CONFIG, size=8, stream_words=1024, code_words=960)
    run(random_program(seed, 3, config=config, opcodes=(Opcode.MATMUL,)), seed=seed, stall=0.1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20, 40))
def test_many(seed):
    run(random_program(seed, 6), seed=seed, stall=0.1 * (seed % 5))


# Timing

CONV = {"kernel3": 1, "pad": 1, "format": 1}
MATMUL = {"auxiliary": 240, "auxiliary_plane": 16, "channels": 8}


@pytest.mark.parametrize(
    ("instructions", "beats"),
    [
        pytest.param([(Opcode.CONV, CONV | {"chunks0": 2, "chunks": 2})], 576, id="conv"),
        pytest.param(
            [(Opcode.CONV, CONV | {"chunks0": 1, "chunks": 2, "tile_rows": 1})],
            288,
            id="tiles of as many pixels as rows of the array",
        ),
        pytest.param(
            [(Opcode.CONV, CONV | {"chunks0": 1, "chunks": n, "offset": 576}) for n in (1, 2, 1)],
            576,
            id="convs in a row",
        ),
        pytest.param(
            [
                (Opcode.MATMUL, MATMUL | {"chunks0": 2, "chunks": 3, "transpose": n % 2})
                for n in range(3)
            ],
            288,
            id="matmuls in a row",
        ),
    ],
)
def test_no_bubble(instructions, beats):
    """From the first beat to the last, the array takes one a cycle."""
    bench = run(program_of(*instructions))
    busy = np.flatnonzero(bench.busy)
    assert len(busy) == beats
    assert busy[-1] - busy[0] + 1 == beats
    front = bench.front
    assert busy[0] == 7 + front.latency  # the instruction was taken in cycle 0
    pixels = 16 if instructions[0][1].get("tile_rows", 4) == 4 else 4
    drained = front.mac_array.latency + front.accumulator.latency + bench.back.latency
    assert np.flatnonzero(bench.values)[-1] == busy[-1] + drained + pixels - 1
    assert bench.cycles == beats + 7 + front.latency + drained + pixels - 1


def test_a_short_block_of_keys():
    """Where the first block of K is waited for: its words, then its rows."""
    fields = MATMUL | {"chunks0": 2, "chunks": 1, "transpose": 1, "height": 1, "rows": 1}
    bench = run(program_of((Opcode.MATMUL, fields)))
    assert sum(bench.busy) == 8


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize(
    ("size", "text"), [(1, r"size must be in 2\.\.64, got 1"), (65, r"in 2\.\.64, got 65")]
)
def test_transposer_refuses(size, text):
    with pytest.raises(ValueError, match=text):
        Transposer(size=size)


# Faults

FAULTS = {
    "upsampled_tap": ("array_passes", "array_walk", "tap_row[0]", "~tap_row[0]", "conv"),
    "tile_step": ("array_passes", "array_walk", "Mux(crosses, work.width, 0)", "0", "odd tiles"),
    "segment": (
        "array_passes", "array_walk", "loop.part >= work.chunks0", "loop.part > work.chunks0",
        "conv",
    ),
    "need": ("array_passes", "array_walk", "need.eq((need + 1)[:16])", "need.eq(need)", "steps"),
    "no_waits": (
        "array_walk", "array_front", "(offered.step_unit == Unit.NONE) |", "1 |", "steps",
    ),
    "columns_only": (
        "array_walk", "array_front", "(row.as_unsigned() >= work.height) |", "0 |", "conv",
    ),
    "head_end": (
        "stationary", "array_front", "& (row < now.lanes)", "& 1", "keys",
    ),
    "head_begin": (
        "stationary", "array_front", "(row >= now.lane_first)", "1", "keys",
    ),
    "torn_block": (
        "transposer", "stationary", "leaves & (self.i.valid | (filled == 0))", "leaves", "keys",
    ),
    "row_scale_moves_on": (
        "array_back", "", "place.eq(asked),", "place.eq(0),", "scaled",
    ),
    "row_of_the_tile": (
        "array_back", "", "total.payload.end & tag.chunk_end", "total.payload.end", "scaled",
    ),
    "bias_of_a_matmul": ("array_back", "", "Mux(held.matmul, 0,", "Mux(0, 0,", "keys"),
    "k_of_a_matmul": ("array_front", "", "Mux(fields.matmul, 0,", "Mux(0, 0,", "keys"),
}  # fmt: skip
HEAD = {"lane_first": 2, "channels": 5, "chunks0": 2, "chunks": 2, "transpose": 1}
SHORT = {"kernel3": 1, "pad": 1, "format": 1, "chunks0": 1, "chunks1": 1, "chunks": 1}
STEPS = {"kernel3": 0, "pad": 0, "step_unit": 2, "step_base": 20, "step_cap": 40}
PROGRAMS = {
    "conv": [(Opcode.CONV, SHORT | {"upsample": 1, "rows": 3, "tile_rows": 2})],
    "odd tiles": [(Opcode.CONV, SHORT | {"upsample": 1, "rows": 4, "tile_rows": 1})],
    "steps": [(Opcode.CONV, SHORT | STEPS)],
    "keys": [(Opcode.MATMUL, MATMUL | HEAD)] * 2,
    "scaled": [
        (Opcode.MATMUL, MATMUL | {"chunks0": 1, "chunks": 2, "row_scale": 1, "tile_rows": 3})
    ],
}


def bench_of(name):
    stall = 0.0 if name in ("conv", "odd tiles") else 0.3
    return program_of(*PROGRAMS[name]), {"seed": 4, "stall": stall}


def mutated(name, old, new):
    """The class of ``hdl/<name>.py`` with one text replaced; it must occur once."""
    source = (Path(hdl.__file__).parent / f"{name}.py").read_text()
    assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times"
    module = types.ModuleType(f"hdl.{name}_mutated")
    exec(compile(source.replace(old, new), name, "exec"), module.__dict__)
    return getattr(module, name.title().replace("_", ""))


@pytest.mark.parametrize("name", PROGRAMS)
def test_without_a_fault(name):
    program, keywords = bench_of(name)
    run(program, **keywords)


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_found(fault, monkeypatch):
    name, parent, old, new, program_name = FAULTS[fault]
    wrong = mutated(name, old, new)
    program, keywords = bench_of(program_name)
    if parent:
        module = importlib.import_module(f"hdl.{parent}")
        monkeypatch.setattr(module, wrong.__name__, wrong)
    elif name == "array_front":
        keywords["front"] = wrong
    else:
        keywords["back"] = wrong
    bench = ValuesBench(program, **keywords)
    bench.run(limit=3000)
    assert bench.differences != []


def test_the_programs_are_varied():
    """Random programs meet every field value that changes the walk."""
    found = random_program(1, 60).instructions
    convs = [i for i in found if i.opcode is Opcode.CONV]
    matmuls = [i for i in found if i.opcode is Opcode.MATMUL]
    for name in ("kernel3", "stride2", "upsample", "pad", "narrow"):
        assert {i[name] for i in convs} == {0, 1}, name
    assert {i["format"] for i in convs} == {0, 1, 2}
    for name in ("transpose", "narrow", "row_scale", "scale_bank"):
        assert {i[name] for i in matmuls} == {0, 1}, name
    assert any(i["source_row"] > 0 for i in found)
    assert any(i["rows"] > i["tile_rows"] for i in found)
    assert all(CONFIG.code_bank_words > i["source0"] % CONFIG.code_bank_words for i in found)
