"""Latencies that the cycle model counts with, and what it finds out about an instruction."""

from dataclasses import dataclass

from golden.accelerator.instruction import Instruction, Unit

__all__ = ["Latencies", "Line", "Memory", "Timeline"]


@dataclass(frozen=True)
class Memory:
    """External memory: first data ``latency`` cycles after a request, then ``width`` bytes each."""

    latency: int = 40
    width: int = 16


@dataclass(frozen=True)
class Latencies:
    """Cycles from one thing to the next: of blocks that exist, and the budget of the others."""

    front: int = 7  # word address to array input: scratchpad 1, lookup 4, skid, operand
    drain: int = 6  # last beat at the accumulator to pixel 0 of the drain
    settle: int = 3  # last beat to the first cycle in which the next bank takes beats
    back: int = 14  # drain to scratchpad: lane constants 2, requantizer 8, residual, write
    vector: int = 30  # first word read to first word written, NORM with SiLU
    group: int = 40  # sums of a group to its r
    channel: int = 4  # cycles a channel for Am, B, F
    softmax: int = 40
    sampler: int = 12
    commit: int = 3

    def array(self, size: int) -> int:
        """Beat at the array's input to its sums."""
        return 2 + (size - 1).bit_length()


@dataclass
class Line:
    """One instruction: cycles of dispatch, first work and last write; beats of its unit.

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

    ``reads``: first cycle and beats of the data of every request.
    """

    lines: list[Line]
    cycles: int
    bytes_read: int
    reads: list[tuple[int, int]]

    def beats(self, unit: Unit) -> int:
        """Busy cycles of a unit."""
        return sum(line.beats for line in self.lines if line.instruction.unit is unit)
