"""The cycle model: small cases by hand, what must hold of every step, and the targets."""

from itertools import pairwise

import pytest

from golden.accelerator.compiler import compile_artifact
from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.cycles import time_section
from golden.accelerator.instruction import Instruction, Opcode, Unit
from golden.accelerator.legality import output_count
from golden.accelerator.legality_engine import check_steps
from golden.accelerator.legality_program import External
from golden.accelerator.operations import Section
from golden.accelerator.synthetic import synthetic_artifact
from golden.accelerator.timing.clock import Clock
from golden.accelerator.timing.latencies import Memory
from golden.accelerator.timing.utilisation import utilisation
from golden.calibration.artifact import embedded_artifact
from golden.network.presets import preset
from tests.accelerator_runs import ROOMY, several_heads
from tests.small_network import small_artifact

END = Instruction(Opcode.END)
WAITS = {Unit.ARRAY: "wait_array", Unit.VECTOR: "wait_vector", Unit.MOVER: "wait_mover"}


def steps(program):
    return [instruction for _, instruction in program.listed[Section.STEP]]


@pytest.fixture(scope="module")
def embedded():
    return compile_artifact(embedded_artifact(), AcceleratorConfig())


def test_processes_go_on_in_order_and_conditions_are_asked_when_something_happened():
    clock, log = Clock(), []
    flag: list[int] = []

    def first():
        log.append(("first", clock.now))
        yield lambda: bool(flag)
        log.append(("first", clock.now))

    def second():
        log.append(("second", clock.now))
        yield 5
        flag.append(1)
        log.append(("second", clock.now))

    clock.add("first", first())
    clock.add("second", second())
    clock.at(3, lambda: log.append(("event", clock.now)))
    clock.run()
    assert log == [("first", 0), ("second", 0), ("event", 3), ("second", 5), ("first", 5)]


def test_waiting_for_ever_is_an_error_that_names_who():
    clock = Clock()
    clock.add("somebody", (condition for condition in [lambda: False]))
    with pytest.raises(RuntimeError, match="somebody wait for ever"):
        clock.run()


def test_an_empty_section_by_hand():
    timeline = time_section(ROOMY, [END], Memory(latency=40, width=16))
    # request in cycle 0, on the bus in 3, four beats of data in 45..48; two steps of the check are
    # done in 49 + 21 + 2 + 1, and a cycle later END is seen
    assert timeline.cycles == 74
    assert timeline.bytes_read == 64


def test_a_load_by_hand():
    load = Instruction(Opcode.LOAD, {"words": 32})
    timeline = time_section(ROOMY, [load, END], Memory(latency=10, width=16))
    line = timeline.lines[0]
    sizes = [entry for entry in External if entry.name.endswith("BYTES")]
    check = check_steps(ROOMY, load, dict.fromkeys(sizes, 1 << 20) | {External.STEPS: 1})
    assert check.cause == 0
    assert line.dispatch == 15 + 4 + check.cycles + 1
    assert line.start == line.dispatch + 2
    assert timeline.bytes_read == 2 * 64 + 32 * 16


def test_a_conv_takes_a_beat_a_pixel_and_pass(embedded):
    timeline = time_section(embedded.header.config, steps(embedded))
    pairs = zip(embedded.listed[Section.STEP], timeline.lines, strict=True)
    array = [(o, line) for (o, i), line in pairs if i.unit is Unit.ARRAY]
    for (_, before), (operation, line) in pairwise(array):
        if operation.label == "mid_block.resnets.0.conv1":
            assert line.beats == 64 * 9 * 4 * 4
            assert line.end - before.end == line.beats  # no bubble
    assert timeline.beats(Unit.ARRAY) == 279_040


@pytest.mark.parametrize("name", ["embedded", "heads", "bands"])
def test_every_wait_is_kept(name, embedded):
    programs = {
        "embedded": lambda: embedded,
        "heads": lambda: compile_artifact(several_heads(), ROOMY),
        "bands": lambda: compile_artifact(
            small_artifact(), AcceleratorConfig(size=4, stream_words=768, code_words=512)
        ),
    }
    program = programs[name]()
    timeline = time_section(program.header.config, steps(program))
    # cycle by which each unit has surely reached a count: the end of the instruction that does
    reached = {unit: [(0, 0)] for unit in WAITS}
    for line in timeline.lines:
        i = line.instruction
        if i.unit in WAITS:
            total = reached[i.unit][-1][0] + output_count(i)
            reached[i.unit].append((total, line.end))
    for line in timeline.lines:
        i = line.instruction
        assert line.dispatch <= line.start <= line.end
        if i.unit not in WAITS:
            continue
        for unit, wait in WAITS.items():
            needed = 0 if unit is Unit.MOVER and i.unit is Unit.MOVER else i[wait]
            # all instructions whose counts are needed whole have ended
            ended = [end for total, end in reached[unit] if total <= needed]
            assert line.start >= max(ended)
    for unit in (*WAITS, Unit.LOADER):
        mine = [line for line in timeline.lines if line.instruction.unit is unit]
        assert all(a.start <= b.start and a.end <= b.end for a, b in pairwise(mine))


def test_a_slower_memory_is_never_faster(embedded):
    cycles = [
        time_section(embedded.header.config, steps(embedded), memory).cycles
        for memory in (
            Memory(0, 32),
            Memory(0, 16),
            Memory(40, 16),
            Memory(200, 16),
            Memory(200, 4),
        )
    ]
    assert cycles == sorted(cycles)
    assert cycles[-1] > cycles[0]


def test_the_targets_at_16_by_16(embedded):
    found = utilisation(embedded)
    assert found.conv3x3 > 0.95
    assert found.step > 0.90
    assert found.network < found.step < 279_040 / found.cycles
    assert found.cycles < 1.02 * found.array_beats


def test_fashion32_reaches_its_target():
    config = preset("fashion32")
    wide = {"conv_in", "conv_out"}
    sizes = AcceleratorConfig(stream_words=32768, code_words=16384, sum_chunks=128)
    assert utilisation(compile_artifact(synthetic_artifact(config, wide), sizes)).step > 0.95
