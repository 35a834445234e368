"""Weights of CONVs: requests, beats, and rows in the buffer before the array."""

from collections import deque

from golden.accelerator.instruction import Instruction
from golden.accelerator.timing.bus import Bus
from golden.accelerator.timing.clock import Clock, Process
from golden.accelerator.timing.tiles import Tiles

__all__ = ["Weights"]

FIFO_SETS = 4
FIFO = 2  # cycles through the buffer of rows


class Weights:
    """``offered``: for each row the cycle from which the array may take it; ``left``: when it did.

    A CONV's weights are one request for each pixel tile of each channel tile.
    """

    def __init__(self, clock: Clock, bus: Bus, size: int) -> None:
        self.clock, self.bus, self.size = clock, bus, size
        self.offered: list[int] = []
        self.left: list[int] = []
        self.waiting = 0  # CONVs in the queue
        self._free = 0  # cycle from which the next CONV is taken
        self._jobs: deque[tuple[int, Instruction]] = deque()
        self._beats: deque[int] = deque()
        self._requests: deque[tuple[int, int]] = deque()  # first row in its beat, and rows
        bus.connect("weights", self._deliver)

    def push(self, i: Instruction) -> None:
        """A CONV was dispatched."""
        self.waiting += 1
        self._jobs.append((self.clock.now + 1, i))
        if len(self._jobs) == 1:
            self._plan()

    def _deliver(self, first: int, beats: int) -> None:
        self._beats.extend(range(first, first + beats))

    def _plan(self) -> None:
        if self._jobs and self._free >= 0:
            self.clock.at(max(self._jobs[0][0], self._free), self._take)
            self._free = -1

    def _take(self) -> None:
        """Ask for all weights of a CONV."""
        _, i = self._jobs.popleft()
        self.waiting -= 1
        now, width, size = self.clock.now, self.bus.memory.width, self.size
        tiles = Tiles.of(i)
        rows = tiles.passes * size
        offset = i["offset"]
        asked = [(chunk, tile) for chunk in range(i["chunks"]) for tile in tiles.pixels]
        for number, (chunk, _) in enumerate(asked):
            begin = offset + chunk * rows * size
            skipped = begin % width
            beats = -(-(skipped + rows * size) // width)
            self._requests.append((skipped // size, rows))
            last = number == len(asked) - 1
            args = ("weights", begin - skipped, beats, now + 1)
            self.bus.ask(*args, self._ended) if last else self.bus.ask(*args)

    def _ended(self, cycle: int) -> None:
        """The last request was accepted."""
        self._free = cycle + 1
        self._plan()

    def cut(self) -> Process:
        """Beats become rows, or rows are gathered from beats."""
        depth, width = FIFO_SETS * self.size, self.bus.memory.width
        each = width // self.size
        parts = self.size // width  # beats of a row
        taken = written = -1
        row = part = 0
        while True:
            if not self._beats:
                yield lambda: bool(self._beats)
            taken = max(self._beats.popleft(), taken + 1)
            if each > 1:
                skip, left = self._requests[0]
                here = min(each - skip, left)
                self._next(left - here)
                taken = written = max(taken, written)
                for _ in range(here):
                    written += 1
                    if row >= depth:
                        if len(self.left) <= row - depth:
                            yield lambda n=row: len(self.left) > n - depth  # type: ignore[misc]
                        written = max(written, self.left[row - depth] + 1)
                    self.offered.append(written + FIFO)
                    row += 1
            else:
                part += 1
                if part == parts:
                    part = 0
                    if row >= depth:
                        if len(self.left) <= row - depth:
                            yield lambda n=row: len(self.left) > n - depth  # type: ignore[misc]
                        taken = max(taken, self.left[row - depth] + 1)
                    self.offered.append(taken + FIFO)
                    row += 1
            self.bus.free("weights", taken + 1)

    def _next(self, left: int) -> None:
        """Rows of this request that are left."""
        if left:
            self._requests[0] = (0, left)
        else:
            self._requests.popleft()
