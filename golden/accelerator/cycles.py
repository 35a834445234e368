"""Start and end of every instruction for a memory that is always ready.

The model moves passes and tiles of the array, words of the other units and beats of the bus; what
the RTL takes from one to the next stands beside each unit. Start is the cycle in which a unit takes
an instruction, end the one of its ``finish``.
"""

from collections.abc import Iterator, Sequence

from golden.accelerator.compiler import Program
from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import Instruction, Opcode, Unit
from golden.accelerator.operations import Section
from golden.accelerator.program import HEADER_BYTES
from golden.accelerator.timing.array import ArrayUnit
from golden.accelerator.timing.bus import burst_lengths
from golden.accelerator.timing.latencies import Arithmetic, Memory, Place, Timeline
from golden.accelerator.timing.loader import WORD_BYTES, TableLoader, blocks_of
from golden.accelerator.timing.machine import Machine
from golden.accelerator.timing.mover import Mover
from golden.accelerator.timing.vector import VectorUnit

__all__ = ["time_run", "time_section"]

HEADER = 38  # cycles from *start* to the first section, beside the memory's and its beats
HEADER_HIDES = 15  # cycles of the header's second burst, if it waits for the first
BETWEEN = 4  # from END to the next section, beside one for each boundary


def time_section(
    config: AcceleratorConfig,
    instructions: Sequence[Instruction],
    memory: Memory | None = None,
    place: Place | None = None,
    arithmetic: Arithmetic | None = None,
) -> Timeline:
    """Cycles of one section, from the first fetch to END; the usual memory, place and arithmetic.

    ``RuntimeError`` if the instructions wait for ever, which those of a legal section never do.
    """
    machine = Machine(
        config, instructions, memory or Memory(), place or Place(), arithmetic or Arithmetic()
    )
    # in the order of their priority at the bus
    loader = TableLoader(machine)
    machine.connect()
    mover = Mover(machine)
    array, vector = ArrayUnit(machine), VectorUnit(machine)
    machine.clock.add("fetch", machine.fetch())
    machine.clock.add("dispatch", machine.dispatch())
    for name, process in (
        ("loader", loader.run()),
        ("weights", machine.weights.cut()),
        ("mover", mover.run()),
        ("array, instructions", array.take()),
        ("array, reads of sets", array.rows.ask()),
        ("array, rows", array.rows.give()),
        ("array, sets", array.rows.enter()),
        ("array", array.run()),
        ("vector, instructions", vector.take()),
        ("vector", vector.run()),
    ):
        machine.clock.add(name, process, forever=True)
    machine.clock.run()
    return Timeline(machine.lines, machine.lines[-1].end, machine.bus.bytes_read, machine.bus.reads)


def time_run(
    program: Program,
    steps: range,
    memory: Memory | None = None,
    arithmetic: Arithmetic | None = None,
) -> int:
    """Cycles from *start* to *done*: header, section start, ``steps``, section finish."""
    header, memory = program.header, memory or Memory()
    boundaries = header.boundaries
    known: dict[tuple[object, ...], int] = {}

    def section(which: Section, step: int) -> int:
        group = sum(boundary <= step for boundary in boundaries)
        place = Place(header.steps, len(boundaries) + 1, step, group)
        instructions = [i for _, i in program.listed[which]]
        # a check takes a cycle for each bit of step and group; a burst ends at a page
        bursts = _bursts(header.config, instructions, memory.width, place)
        key = (which, step.bit_length(), group.bit_length(), *bursts)
        if key not in known:
            timeline = time_section(header.config, instructions, memory, place, arithmetic)
            known[key] = timeline.cycles
        return known[key] + len(boundaries) + BETWEEN

    # two bursts; the words of the first one are read while memory answers the second
    cycles = HEADER + max(memory.latency, 1) + HEADER_BYTES // 2 // memory.width
    if memory.outstanding == 1:
        cycles += max(memory.latency - HEADER_HIDES, 0)
    cycles += section(Section.START, steps.start)
    cycles += sum(section(Section.STEP, step) for step in steps)
    return cycles + section(Section.FINISH, steps.stop - 1)


def _bursts(
    config: AcceleratorConfig, instructions: Sequence[Instruction], width: int, place: Place
) -> Iterator[int]:
    """Beats of the bursts that lie elsewhere in each step."""
    for i in instructions:
        if i.opcode is Opcode.TABLE:
            for offset, words, _ in blocks_of(i, config.size, place):
                yield from burst_lengths(offset, -(-words * WORD_BYTES // width), width)
        elif i.unit is Unit.MOVER:
            offset = i["offset"] + i["step_stride"] * place.step
            yield from burst_lengths(offset, -(-i["words"] * config.word_bytes // width), width)
