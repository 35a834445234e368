"""Latencies that the cycle model counts with, and what it finds out about an instruction."""

from dataclasses import dataclass

from golden.accelerator.instruction import Instruction, Unit

__all__ = ["Latencies", "Line", "Memory", "Place", "Timeline"]


@dataclass(frozen=True)
class Memory:
    """External memory: first data ``latency`` cycles after a request, then ``width`` bytes each."""

    latency: int = 40
    width: int = 16


@dataclass(frozen=True)
class Place:
    """Where in the run a section stands: ``steps`` and ``groups`` of the program, and which."""

    steps: int = 1
    groups: int = 1
    step: int = 0
    group: int = 0


@dataclass(frozen=True)
class Latencies:
    """Cycles from one thing to the next, as the blocks are built."""

    request: int = 3  # request to the bus
    buffer: int = 2  # bus to the client
    queue: int = 2  # dispatch to the unit; a count or a table to the instruction that waits
    weights: int = 2  # beat of weights to the row that the array takes
    passes: int = 4  # instruction to its first pass
    walk: int = 7  # to its first word
    permit: int = 3  # count to the first word of a chunk that waited for it
    fill: int = 6  # instruction to the first stationary word, and the last one to its pass
    conflict: int = 3  # last operand of the instruction before to the first stationary word
    front: int = 9  # word address to array input: scratchpad 2, lookup 4, skid, operand
    drain: int = 6  # last beat at the accumulator to pixel 0 of the drain
    settle: int = 3  # last beat to the first cycle in which the next bank takes beats
    back: int = 17  # drain to count: lane constants 2, requantizer 8, residual, write, sums
    allow: int = 3  # count to the first word of a chunk that the vector unit waited for
    lookup: int = 6  # instruction to its constants of the scale file
    setup: int = 6  # to the first word read, once the one before is written
    edge: int = 9  # word read to word written
    norm: int = 16
    silu: int = 20
    window: int = 13
    softmax: int = 6
    row: int = 28  # last word of softmax to the scale of its row
    sampler: int = 15
    count: int = 1  # last word written to count
    group: int = 66  # sums of a group to its r
    channel: int = 19  # cycles a channel for Am, B, F
    commit: int = 3

    def way(self, memory: Memory) -> int:
        """Request to the first beat of data; no memory answers in the cycle of its request."""
        return self.request + max(memory.latency, 1) + self.buffer

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
