"""Runs encoded programs on memory images, instruction by instruction: no artifact, no compiler.

Order is that of dispatch, which every legal schedule agrees with; when things happen is the
business of ``cycles.py``.
"""

from collections.abc import Callable, Iterator, Mapping

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import (
    INSTRUCTION_BYTES,
    Cause,
    Instruction,
    MachineError,
    Opcode,
)
from golden.accelerator.legality import ALIGNMENT, Dispatch
from golden.accelerator.operations import Section
from golden.accelerator.program import Header
from golden.accelerator.units import array, vector
from golden.accelerator.units.state import State

__all__ = ["Executor"]

Observer = Callable[[Section, int, Instruction, State], None]
_RUN: Mapping[Opcode, Callable[[State, Instruction], None]] = {
    Opcode.CONV: array.conv,
    Opcode.MATMUL: array.matmul,
    Opcode.NORM: vector.norm,
    Opcode.EDGE: vector.edge,
    Opcode.SOFTMAX: vector.softmax,
    Opcode.SAMPLE: vector.sample,
}


class Executor:
    """A machine of ``config`` with its memory.

    ``regions``: program, weights and tables; ``data``: the fourth region, which STORE writes.
    ``observer``: called after each instruction with its section, number and the state.
    """

    def __init__(
        self,
        config: AcceleratorConfig,
        regions: Mapping[str, bytes],
        data: bytearray,
        observer: Observer | None = None,
    ) -> None:
        self.state = State(config, regions, data)
        self.program, self.observer = regions["program"], observer
        self.header = Header.decode(self.program)
        if self.header.config != config:
            raise MachineError(Cause.CONFIGURATION, f"compiled for {self.header.config}")
        self._sizes = {name: len(content) for name, content in regions.items()}
        self._sizes["data"] = len(data)

    def run(self, steps: range) -> None:
        """Start, all ``steps`` in turn, finish; ``MachineError`` where the machine stops."""
        if not 0 <= steps.start < steps.stop <= self.header.steps:
            raise MachineError(Cause.CONFIGURATION, f"steps {steps} of {self.header.steps}")
        self.section(Section.START, steps.start)
        for step in steps:
            self.section(Section.STEP, step)
        self.section(Section.FINISH, steps.stop - 1)

    def section(self, section: Section, step: int) -> None:
        """Run one section at a step."""
        group = sum(boundary <= step for boundary in self.header.boundaries)
        groups = len(self.header.boundaries) + 1
        dispatch = Dispatch(self.state.config, self._sizes, self.header.steps)
        for number, instruction in enumerate(self._fetch(section)):
            dispatch.check(instruction, groups)
            self._execute(instruction, group, step)
            if self.observer is not None:
                self.observer(section, number, instruction, self.state)

    def _fetch(self, section: Section) -> Iterator[Instruction]:
        offset, size = self.header.sections[section]
        if offset % ALIGNMENT or offset + size > len(self.program):
            what = f"section {section.value}: bytes {offset}..{offset + size - 1}"
            raise MachineError(Cause.EXTERNAL, f"{what} of {len(self.program)}, aligned to 64")
        for at in range(offset, offset + size, INSTRUCTION_BYTES):
            instruction = Instruction.decode(self.program[at : min(at + 64, offset + size)])
            yield instruction
            if instruction.opcode is Opcode.END:
                return
        raise MachineError(Cause.END, f"section {section.value} has no END")

    def _execute(self, instruction: Instruction, group: int, step: int) -> None:
        if instruction.opcode is Opcode.TABLE:
            self.state.load_tables(instruction, group, step)
        elif instruction.opcode in (Opcode.LOAD, Opcode.STORE):
            self.state.move(instruction, step, load=instruction.opcode is Opcode.LOAD)
        elif instruction.opcode in _RUN:
            _RUN[instruction.opcode](self.state, instruction)
