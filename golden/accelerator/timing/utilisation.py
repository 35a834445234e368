"""How busy a step keeps the array: ``useful MACs / (N x N x cycles)``.

Useful are the multiplications of the float network times the passes of their edge; lanes that only
fill a chunk are not. ``network`` counts every multiplication once.
"""

from dataclasses import dataclass

from golden.accelerator.compiler import Program
from golden.accelerator.cycles import time_section
from golden.accelerator.instruction import Format, Opcode, Unit
from golden.accelerator.operations import Operation, Section
from golden.accelerator.timing.latencies import Memory, Timeline

__all__ = ["Utilisation", "utilisation"]


@dataclass(frozen=True)
class Utilisation:
    """Cycles of a step, of them with beats of each unit, and shares of the array's capacity."""

    cycles: int
    array_beats: int
    vector_beats: int
    bytes_read: int
    step: float
    conv3x3: float
    network: float


def _network_macs(operation: Operation) -> int:
    return operation.macs // (2 if operation.fields.get("format") == Format.WIDE else 1)


def _is_3x3(operation: Operation) -> bool:
    """The first conv is one, though it reads packed windows."""
    packed = operation.label == "conv_in"
    return operation.opcode is Opcode.CONV and (packed or bool(operation.fields["kernel3"]))


def _conv3x3(program: Program, timeline: Timeline) -> float:
    """Share over the cycles from the start of each 3x3 conv to the next start on the array."""
    pairs = zip(program.listed[Section.STEP], timeline.lines, strict=True)
    array = [(o, line) for (o, i), line in pairs if o is not None and i.unit is Unit.ARRAY]
    ends = [line.start for _, line in array[1:]] + [array[-1][1].end]
    found = [
        (operation.macs, end - line.start)
        for (operation, line), end in zip(array, ends, strict=True)
        if _is_3x3(operation)
    ]
    size = program.header.config.size
    return sum(m for m, _ in found) / (size * size * sum(c for _, c in found))


def utilisation(program: Program, memory: Memory | None = None) -> Utilisation:
    """Of one step of a program."""
    instructions = [instruction for _, instruction in program.listed[Section.STEP]]
    timeline = time_section(program.header.config, instructions, memory)
    capacity = program.header.config.size**2 * timeline.cycles
    return Utilisation(
        cycles=timeline.cycles,
        array_beats=timeline.beats(Unit.ARRAY),
        vector_beats=timeline.beats(Unit.VECTOR),
        bytes_read=timeline.bytes_read,
        step=sum(o.macs for o in program.operations) / capacity,
        conv3x3=_conv3x3(program, timeline),
        network=sum(map(_network_macs, program.operations)) / capacity,
    )
