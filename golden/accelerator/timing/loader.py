"""Cycles of TABLE: its blocks come one after the other, a word a cycle is written."""

from collections import deque
from functools import partial

from golden.accelerator.instruction import Instruction, Unit
from golden.accelerator.program import GROUP_HEADER_WORDS, NORM_HEADER_WORDS
from golden.accelerator.timing.clock import Process
from golden.accelerator.timing.latencies import Place
from golden.accelerator.timing.machine import QUEUED, Machine

__all__ = ["WORD_BYTES", "TableLoader", "blocks_of"]

ROW_WORDS = 8  # of a sampler row
WORD_BYTES = 4
OPEN = 1  # first word to its bank, which opens for it
FINISH = 2  # last word to finish: commit, or the row is given


def blocks_of(i: Instruction, size: int, place: Place) -> list[tuple[int, int, int]]:
    """Offset, words, and cycles a word of each block of a TABLE."""
    step = i["step_offset"] + i["step_stride"] * place.step
    if i["sampler_row"]:
        return [(step, ROW_WORDS, 1)]
    lanes = i["chunks"] * size
    group = i["group_offset"] + i["group_stride"] * place.group
    blocks = [(group, GROUP_HEADER_WORDS + lanes, 1), (step, lanes // 2, 2)]
    if i["norm_chunks"]:
        blocks.append((i["norm_offset"], NORM_HEADER_WORDS + i["norm_chunks"] * size, 1))
    return blocks


class TableLoader:
    """Waits for the bank, asks for the blocks, writes their words; two cycles a word of biases."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._beats: deque[int] = deque()
        machine.bus.connect("tables", self._deliver)

    def _deliver(self, first: int, beats: int) -> None:
        self._beats.extend(range(first, first + beats))

    def run(self) -> Process:
        """Run instructions."""
        machine = self.machine
        queue, bus, clock = machine.queues[Unit.LOADER], machine.bus, machine.clock
        each = machine.memory.width // WORD_BYTES
        free = 0
        while True:
            yield lambda: bool(queue)
            line = queue[0]
            i = line.instruction
            if not i["sampler_row"]:
                yield lambda x=line: (  # type: ignore[misc]
                    machine.bank_finished[x.instruction["bank"]] >= x.bank_users
                )
            yield max(free, clock.now)
            machine.take(Unit.LOADER)
            line.start = clock.now
            if not i["sampler_row"]:
                machine.sets.pop(i["bank"], None)
            blocks = blocks_of(i, machine.config.size, machine.place)
            for offset, words, _ in blocks:
                bus.ask("tables", offset, -(-words // each), clock.now + 1)
            written = clock.now
            opening = 0 if i["sampler_row"] else OPEN
            for _, words, cycles in blocks:
                line.beats += words * cycles
                for first in range(0, words, each):
                    yield lambda: bool(self._beats)
                    taken = max(self._beats.popleft(), written)
                    bus.free("tables", taken + 1)
                    written = taken + min(each, words - first) * cycles + opening
                    opening = 0
            machine.finish(line, written + FINISH)
            free = written + FINISH + 1
            machine.clock.at(written + FINISH + QUEUED, partial(machine.hold, i))
