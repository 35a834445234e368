"""Rows of weights into the array: streamed, read from the code scratchpad, or transposed there."""

from enum import IntEnum
from itertools import count

from golden.accelerator.instruction import Instruction, Opcode
from golden.accelerator.timing.clock import Clock, Process
from golden.accelerator.timing.ports import Ports
from golden.accelerator.timing.tiles import Tiles
from golden.accelerator.timing.weights import Weights

__all__ = ["Rows", "Source", "sets_of"]

READ = 2  # cycles from a read to its word
AHEAD = 4  # words that are read and not taken
HELD = 2  # entries of a buffer between two blocks


class Source(IntEnum):
    """Where the rows of a set come from."""

    STREAM = 0
    WORDS = 1
    TRANSPOSED = 2


def sets_of(i: Instruction, size: int) -> list[tuple[Source, int]]:
    """Source and first word of the set of every pass of an instruction."""
    tiles = Tiles.of(i)
    if i.opcode is Opcode.CONV:
        return [(Source.STREAM, 0)] * (i["chunks"] * len(tiles.pixels) * tiles.passes)
    by_chunk, by_part = i["auxiliary_plane"], size
    source = Source.WORDS
    if i["transpose"]:
        by_chunk, by_part, source = by_part, by_chunk, Source.TRANSPOSED
    return [
        (source, i["auxiliary"] + chunk * by_chunk + part * by_part)
        for chunk in range(i["chunks"])
        for _ in tiles.pixels
        for part in range(tiles.passes)
    ]


class Rows:
    """Lists over all sets, or over all rows, of a section: the cycles in which things happen.

    ``offered``: a set is named; ``consumed``: its last word is asked for; ``full``: its last row
    is in the array. ``swaps``: the array begins to use it, which frees the room for the next one.
    """

    def __init__(self, clock: Clock, ports: Ports, weights: Weights, size: int) -> None:
        self.clock, self.ports, self.weights, self.size = clock, ports, weights, size
        self.sets: list[tuple[Source, int]] = []
        self.offered: list[int] = []
        self.consumed: list[int] = []
        self.full: list[int] = []
        self.swaps: list[int] = []
        self._known: list[int] = []  # cycle from which rows of a set may pass
        self._popped: list[int] = []  # its last row has passed
        self._words: list[tuple[int, bool]] = []  # word is there; it goes to the transposer
        self._word_left: list[int] = []
        self._passed: list[int] = []  # rows into the buffer before the array
        self._entered: list[int] = []  # and into the array
        self._filled = 0  # words of the block that enters the transposer
        self._blocks = 0  # of the transposer that are complete and have not begun to leave
        self._shifted = -1

    def _wait_popped(self, number: int) -> Process:
        if len(self._popped) <= number:
            yield lambda: len(self._popped) > number

    def ask(self) -> Process:
        """Sets to reads; a set is known from its first read on."""
        cycle = -1
        for number in count():
            if len(self.offered) <= number:
                yield lambda n=number: len(self.offered) > n  # type: ignore[misc]
            source, address = self.sets[number]
            begin = max(self.offered[number], cycle + 1)
            if number >= HELD:
                yield from self._wait_popped(number - HELD)
                begin = max(begin, self._popped[number - HELD] + 1)
            if source is Source.STREAM:
                self._known.append(begin + 1)
                self.consumed.append(begin)
                cycle = begin
                continue
            for place in range(self.size):
                cycle = max(cycle + 1, begin)
                asked = len(self._words)
                if asked >= AHEAD:
                    if len(self._word_left) <= asked - AHEAD:
                        yield lambda n=asked: len(self._word_left) > n - AHEAD  # type: ignore[misc]
                    cycle = max(cycle, self._word_left[asked - AHEAD] + 1)
                yield max(cycle, self.clock.now)
                while (later := self.ports.after("operand", address + place, cycle)) > cycle:
                    cycle = later
                    yield max(cycle, self.clock.now)
                self._words.append((cycle + READ, source is Source.TRANSPOSED))
                if place == 0:
                    self._known.append(cycle + 1)
            self.consumed.append(cycle)

    def give(self) -> Process:
        """Rows, one a cycle."""
        passed = -1
        streamed = 0
        for number in count():
            if len(self._known) <= number:
                yield lambda n=number: len(self._known) > n  # type: ignore[misc]
            source, _ = self.sets[number]
            passed = max(passed, self._known[number] - 1)
            if source is Source.TRANSPOSED:
                yield from self._block()
            for _ in range(self.size):
                row = len(self._passed)
                passed += 1
                if row >= HELD:
                    if len(self._entered) <= row - HELD:
                        yield lambda n=row: len(self._entered) > n - HELD  # type: ignore[misc]
                    passed = max(passed, self._entered[row - HELD] + 1)
                if source is Source.STREAM:
                    if len(self.weights.offered) <= streamed:
                        yield lambda n=streamed: len(self.weights.offered) > n  # type: ignore[misc]
                    passed = max(passed, self.weights.offered[streamed])
                    self.weights.left.append(passed)
                    streamed += 1
                elif source is Source.WORDS:
                    yield from self._wait_word()
                    passed = max(passed, self._words[len(self._word_left)][0])
                    self._word_left.append(passed)
                else:
                    passed = max(passed, self._shifted + 1)
                    yield from self._shift(passed)
                    passed = self._shifted
                self._passed.append(passed)
            self._popped.append(passed)

    def enter(self) -> Process:
        """Rows into the array: those of the next set once the last one is in use."""
        entered = -1
        for number in count():
            for place in range(self.size):
                row = len(self._entered)
                if len(self._passed) <= row:
                    yield lambda n=row: len(self._passed) > n  # type: ignore[misc]
                entered = max(self._passed[row] + 1, entered + 1)
                if place == 0 and number:
                    if len(self.swaps) < number:
                        yield lambda n=number: len(self.swaps) >= n  # type: ignore[misc]
                    entered = max(entered, self.swaps[number - 1])
                self._entered.append(entered)
            self.full.append(entered + 1)

    def _wait_word(self) -> Process:
        number = len(self._word_left)
        if len(self._words) <= number:
            yield lambda: len(self._words) > number

    def _take_word(self, cycle: int) -> None:
        """A word enters the transposer."""
        self._filled = (self._filled + 1) % self.size
        self._shifted = cycle
        self._word_left.append(cycle)
        self._blocks += self._filled == 0

    def _block(self) -> Process:
        """Fill the transposer while nothing leaves it."""
        while not self._blocks:
            yield from self._wait_word()
            word, _ = self._words[len(self._word_left)]
            self._take_word(max(self._shifted + 1, word))
        self._blocks -= 1

    def _shift(self, cycle: int) -> Process:
        """A row leaves; once the next block has begun, only with a word of it."""
        if self._filled:
            yield from self._wait_word()
            word, _ = self._words[len(self._word_left)]
            self._take_word(max(cycle, word))
            return
        yield max(cycle, self.clock.now)
        number = len(self._word_left)
        if len(self._words) > number:
            word, transposed = self._words[number]
            if transposed and word <= cycle:
                self._take_word(cycle)
                return
        self._shifted = cycle
