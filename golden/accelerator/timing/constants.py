"""Cycles of a norm's constants: sums to groups, groups to r, channels to slope and offset."""

from itertools import accumulate

from golden.accelerator.instruction import Instruction
from golden.accelerator.timing.clock import Process
from golden.accelerator.timing.machine import Machine

__all__ = ["NormConstants"]

READ = 2  # cycles of an entry of channel_sums
GROUP = 66  # sums of a group to its r
CHANNEL = 19  # cycles a channel for Am, B, F
KEPT = 5  # first word of a chunk to the place of the next chunk's constants


class NormConstants:
    """Three stages: channels of a group are added, r is found, each channel gets its constants.

    ``ready``: for each chunk of every NORM the cycle from which its first word may enter;
    ``first``: the one in which it did. Until then the constants of the next chunk have no place.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.joining = False
        self.ready: list[int] = []
        self.first: list[int] = []
        self._given = 0  # cycle in which the newest channel's constants were taken

    def join(self, i: Instruction) -> Process:
        """All chunks of a NORM. Groups may go on in the next chunk."""
        machine, size, group = self.machine, self.machine.config.size, i["group_channels"]
        lanes = [min(size, channels - size * n) for channels in (i["channels"], i["channels1"])
                 for n in range(-(-channels // size))]  # fmt: skip
        ends = set(accumulate(lanes))
        now, found, taken, number, left = machine.clock.now + 1, 0, 0, 0, group
        for chunk, count in enumerate(lanes):
            waited = left == group
            if waited:
                yield lambda c=chunk: machine.chunk_ready(i, c)  # type: ignore[misc]
                now = max(now, machine.reached(i, chunk) + 1) + 1
            now += READ
            for lane in range(count):
                now += 1
                left -= 1
                if left:
                    continue
                left = group
                now = max(now, found + 1)
                found = max(now + GROUP, taken + 1)
                now += 1
                for _ in range(group):
                    taken = max(self._given, found + 1)
                    self._given = taken + CHANNEL
                    if number == 0 or number in ends:
                        yield from self._place()
                    number += 1
                    if number in ends:
                        self.ready.append(self._given + 1)
                if lane + 1 < count and not waited:
                    waited = True
                    yield lambda c=chunk: machine.chunk_ready(i, c)  # type: ignore[misc]
                    now = max(now, machine.reached(i, chunk) + 1) + 1
            now += 1
        yield max(machine.clock.now, now, taken + 1)
        self.joining = False

    def _place(self) -> Process:
        """The first channel of a chunk waits for the chunk before to begin."""
        sets = len(self.ready)
        if sets:
            yield lambda: len(self.first) >= sets
            self._given = max(self._given, self.first[sets - 1] + KEPT)
