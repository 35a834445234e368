"""Start and end of every instruction for a memory that is always ready.

The model moves passes, tiles, chunks and bursts, not single beats; what the RTL takes from one to
the next stands in ``Latencies``. Start is the cycle in which a unit takes an instruction, end the
one of its ``finish``. Not modelled: conflicts for a bank of the stream scratchpad, and of LOAD and
STORE the bursts that wait for room.
"""

from collections.abc import Sequence

from golden.accelerator.compiler import Program
from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import Instruction
from golden.accelerator.operations import Section
from golden.accelerator.timing.latencies import Latencies, Memory, Place, Timeline
from golden.accelerator.timing.machine import Machine
from golden.accelerator.timing.units import ArrayUnit, VectorUnit

__all__ = ["time_run", "time_section"]

HEADER = 37  # cycles from *start* to the first section, beside the memory's
BETWEEN = 4  # from END to the next section, beside one for each boundary


def time_section(
    config: AcceleratorConfig,
    instructions: Sequence[Instruction],
    memory: Memory | None = None,
    latencies: Latencies | None = None,
    place: Place | None = None,
) -> Timeline:
    """Cycles of one section, from the first fetch to END.

    ``RuntimeError`` if the instructions wait for ever, which those of a legal section never do.
    """
    machine = Machine(
        config, instructions, memory or Memory(), latencies or Latencies(), place or Place()
    )
    # priority of requests: tables, instructions, weights, mover
    array, vector = ArrayUnit(machine), VectorUnit(machine)
    for name, process in (
        ("loader", machine.load()),
        ("fetch", machine.fetch()),
        ("dispatch", machine.dispatch()),
        ("weights", machine.weigh()),
        ("mover", machine.move()),
        ("array, instructions", array.take()),
        ("array", array.run()),
        ("vector, instructions", vector.take()),
        ("vector", vector.run()),
    ):
        machine.clock.add(name, process)
    machine.clock.run()
    return Timeline(machine.lines, machine.lines[-1].end, machine.bytes_read, machine.reads)


def time_run(program: Program, steps: range, memory: Memory | None = None) -> int:
    """Cycles from *start* to *done*: header, section start, ``steps``, section finish."""
    header, memory = program.header, memory or Memory()
    boundaries = header.boundaries
    known: dict[tuple[Section, int, int], int] = {}

    def section(which: Section, step: int) -> int:
        group = sum(boundary <= step for boundary in boundaries)
        # a check takes a cycle for each bit of step and group
        key = (which, step.bit_length(), group.bit_length())
        if key not in known:
            place = Place(header.steps, len(boundaries) + 1, step, group)
            instructions = [i for _, i in program.listed[which]]
            known[key] = time_section(header.config, instructions, memory, place=place).cycles
        return known[key] + len(boundaries) + BETWEEN

    cycles = HEADER + Latencies().way(memory)
    cycles += section(Section.START, steps.start)
    cycles += sum(section(Section.STEP, step) for step in steps)
    return cycles + section(Section.FINISH, steps.stop - 1)
