"""What the cycle model is told, and what it finds out about an instruction."""

from dataclasses import dataclass

from golden import mac_array, silu_quantizer
from golden.accelerator.instruction import Instruction, Unit

__all__ = ["Arithmetic", "Line", "Memory", "Place", "Timeline"]


@dataclass(frozen=True)
class Memory:
    """External memory: first data ``latency`` cycles after a request, then ``width`` bytes each.

    It takes a request and gives data in every cycle, but never in the cycle of their request.
    ``outstanding``: bursts that the accelerator has under way at most; ``buffer``: beats that it
    holds for each of its four readers.
    """

    latency: int = 40
    width: int = 16
    outstanding: int = 8
    buffer: int = 64


@dataclass(frozen=True)
class Arithmetic:
    """How products and sums are made, which says how many registers they take.

    ``decode``, ``pipeline``, ``multiplier``: parameters of the accelerator; see
    ``golden.mac_array.latency``.
    """

    decode: str = "edge"
    pipeline: int = 1
    multiplier: str = "inferred"

    def array_cycles(self, size: int) -> int:
        """Latency of an array of ``size`` x ``size``."""
        return mac_array.latency(size, self.decode, self.pipeline, self.multiplier)

    @property
    def silu_cycles(self) -> int:
        """Latency of the SiLU quantizer."""
        return silu_quantizer.latency(self.multiplier)


@dataclass(frozen=True)
class Place:
    """Where in the run a section stands: ``steps`` and ``groups`` of the program, and which."""

    steps: int = 1
    groups: int = 1
    step: int = 0
    group: int = 0


@dataclass
class Line:
    """One instruction: cycles of dispatch, start and end; beats of its unit.

    ``bank_users``: instructions of a TABLE's bank that were dispatched before it.
    """

    instruction: Instruction
    dispatch: int = 0
    start: int = 0
    end: int = 0
    beats: int = 0
    bank_users: int = 0


@dataclass
class Timeline:
    """A section: its lines in dispatch order, its cycles, and bytes that memory delivered.

    ``reads``: first cycle and beats of every burst.
    """

    lines: list[Line]
    cycles: int
    bytes_read: int
    reads: list[tuple[int, int]]

    def beats(self, unit: Unit) -> int:
        """Busy cycles of a unit."""
        return sum(line.beats for line in self.lines if line.instruction.unit is unit)
