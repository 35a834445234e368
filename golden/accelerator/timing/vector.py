"""Cycles of the vector unit: a word a cycle, one instruction after the other."""

from collections import deque
from collections.abc import Generator, Iterator

from golden.accelerator.instruction import Instruction, Opcode, Unit
from golden.accelerator.timing.clock import Condition, Process
from golden.accelerator.timing.constants import NormConstants
from golden.accelerator.timing.latencies import Line
from golden.accelerator.timing.machine import LONG_AGO, Machine

__all__ = ["VectorUnit"]

LOOKUP = 6  # instruction to its constants of the scale file; one more for a second source
SETUP = 6  # begin to the first word read
ALLOWED = 3  # count to the first word of a chunk that waited for it
READ = 2  # word read to the lanes
AHEAD = 4  # words that are read and not in the lanes
EDGE = 7  # lanes to the word written
NORM = 14  # a plane to int8
SILU = 7  # beside the SiLU quantizer
WINDOW = 11
SOFTMAX = 4
ROW = 27  # last word of a row, beside the levels of adders, to the count
ROWS = 4  # of softmax whose first pass may be ahead
SAMPLE = 11  # a pixel of one channel
PACE = 8  # words that are looked at together


class VectorUnit:
    """NORM, EDGE, SOFTMAX and SAMPLE.

    An instruction is taken while the one before runs: its constants are fetched, and the sums of a
    NORM joined as soon as they are there. Words wait where the array reads or writes their bank;
    while one cannot be written, all lanes stand still.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.constants = NormConstants(machine)
        self._silu = SILU + machine.arithmetic.silu_cycles
        self.held: Line | None = None  # taken, and not begun
        self.idle = 0  # cycle from which the next instruction may begin
        self._read = 0  # last word read
        self._lanes: deque[int] = deque([LONG_AGO] * AHEAD, AHEAD)  # newest words in the lanes
        self._written = LONG_AGO
        self._still: list[int] = []  # cycles in which nothing moves

    def take(self) -> Process:
        """Take an instruction as soon as the one before has begun, a NORM when sums are free."""
        machine, queue = self.machine, self.machine.queues[Unit.VECTOR]
        while True:
            yield lambda: bool(queue)
            i = queue[0].instruction
            yield lambda i=i: machine.may_start(i)  # type: ignore[misc]
            yield lambda: self.held is None
            if i.opcode is Opcode.NORM:
                yield lambda: not self.constants.joining
            line = machine.take(Unit.VECTOR)
            line.start = machine.clock.now
            if i.opcode is Opcode.NORM:
                self.constants.joining = True
                machine.clock.add("constants", self.constants.join(i))
            self.held = line

    def run(self) -> Process:
        """Run instructions."""
        machine = self.machine
        while True:
            yield lambda: self.held is not None
            line = self.held
            assert line is not None
            i = line.instruction
            fetched = line.start + (1 if i.opcode is Opcode.SAMPLE else LOOKUP)
            fetched += i.opcode is Opcode.EDGE and i["chunks1"] > 0
            yield max(machine.clock.now, fetched, self.idle)
            self.held = None
            self._read = machine.clock.now + SETUP - 1
            self._still.clear()
            if i.opcode is Opcode.SOFTMAX:
                yield from self._softmax(line)
            elif i.opcode is Opcode.SAMPLE:
                yield from self._sample(line)
            elif i.opcode is Opcode.EDGE and i["window"]:
                yield from self._window(line)
            else:
                yield from self._planes(line)
            machine.finish(line, self._written + 1)
            self.idle = self._written + 2
            yield max(machine.clock.now, self._written + 1)

    def _planes(self, line: Line) -> Process:
        """NORM and EDGE: chunk by chunk, word by word."""
        i = line.instruction
        norm = i.opcode is Opcode.NORM
        latency = (self._silu if i["silu"] else NORM) if norm else EDGE
        words = i["rows"] * i["width"]
        first = (i["row_first"] - i["source_row"]) * i["width"]
        for chunk in range(i["chunks0"] + i["chunks1"]):
            yield from self._allow(i, chunk)
            source = i["source0"] + chunk * i["source_plane"]
            if chunk >= i["chunks0"]:
                source = i["source1"] + (chunk - i["chunks0"]) * i["source1_plane"]
            target = i["destination"] + chunk * i["destination_plane"]
            gate = 0
            ahead: deque[int] = deque()  # words that are read before the constants are there
            for word in range(words):
                if word % PACE == 0:
                    yield max(self._read, self.machine.clock.now)
                if word == 0 and norm:
                    for place in range(min(words, AHEAD)):
                        ahead.append(self._ask(source + first + place, place))
                    gate = yield from self._gate()
                read = ahead.popleft() if ahead else self._ask(source + first + word)
                entered = self._enter(read, gate)
                if word == 0 and norm:
                    self.constants.first.append(entered)
                self._write(entered, latency, target + word)
            line.beats += words
            self.machine.count(Unit.VECTOR, self._written + 1)

    def _window(self, line: Line) -> Process:
        """EDGE of an image: a row and a column of zeros more; a word for each pixel."""
        i = line.instruction
        width, height = i["width"], i["rows"]
        yield from self._allow(i, 0)
        for chunk in range(i["chunks"]):
            target = i["destination"] + chunk * i["destination_plane"]
            source = i["source0"]
            for row in range(height + 1):
                yield max(self._read, self.machine.clock.now)
                for column in range(width + 1):
                    pads = column == width or row == height
                    entered = self._enter(self._ask(-1 if pads else source), 0)
                    source += not pads
                    if row and column:
                        self._write(entered, WINDOW, target)
                        target += 1
            line.beats += (height + 1) * (width + 1)
            self.machine.count(Unit.VECTOR, self._written + 1)

    def _softmax(self, line: Line) -> Process:
        """The words of a row twice; its maximum is known before its second pass."""
        i = line.instruction
        rows, chunks = i["rows"] * i["width"], i["chunks0"]
        first = i["source0"] + (i["row_first"] - i["source_row"]) * i["width"]
        levels = (self.machine.config.size - 1).bit_length()
        known = [0] * rows
        entered = allowed = 0
        for row, second in _row_order(rows):
            yield max(self._read, self.machine.clock.now)
            for chunk in range(chunks):
                if chunk == allowed:
                    yield from self._allow(i, chunk)
                    allowed += 1
                gate = known[row] if second else 0
                source = first + row + chunk * i["source_plane"]
                entered = self._enter(self._ask(source), gate)
                if second:
                    target = i["destination"] + row + chunk * i["destination_plane"]
                    self._write(entered, SOFTMAX, target)
            if not second:
                known[row] = entered + levels + 2
        line.beats += 2 * rows * chunks
        self._written = self._moved(entered, ROW + levels) - 1
        self.machine.count(Unit.VECTOR, self._written + 1)

    def _sample(self, line: Line) -> Process:
        """x, eps and noise of a pixel, or x alone; a channel a cycle."""
        i = line.instruction
        sources = [i["source0"]] if i["image"] else [i["source0"], i["auxiliary"], i["source1"]]
        line.beats = i["height"] * i["width"] * len(sources)
        yield from self._allow(i, 0)
        moved = 0
        for pixel in range(i["height"] * i["width"]):
            yield max(self._read, self.machine.clock.now)
            for source in sources:
                entered = self._enter(self._ask(source + pixel), moved)
            moved = max(entered + 1, moved + i["channels"])
            self._written = max(moved + i["channels"] + SAMPLE, self._written + 1)
            target = i["destination"] + pixel
            self._written = self.machine.ports.after("stream", target, self._written)
            self.machine.ports.hold("sampled", target, self._written, 1)
        self.machine.count(Unit.VECTOR, self._written + 1)

    def _gate(self) -> Generator[int | Condition, None, int]:
        """Wait for the constants of the next chunk of a norm; return the cycle."""
        number = len(self.constants.first)
        yield lambda: len(self.constants.ready) > number
        return self.constants.ready[number]

    def _allow(self, i: Instruction, chunk: int) -> Process:
        """Wait until the words of a chunk may be read."""
        yield lambda: self.machine.chunk_ready(i, chunk)
        self._read = max(self._read, self.machine.reached(i, chunk) + ALLOWED - 1)

    def _ask(self, address: int, ahead: int = 0) -> int:
        """Read a word behind ``ahead`` ones that are not in the lanes yet; return the cycle."""
        self._read = max(self._read, self._lanes[ahead]) + 1
        if address >= 0:
            ports = self.machine.ports
            self._read = ports.after("residual", address, self._read)
            ports.hold("vector", address, self._read, 1)
        return self._read

    def _enter(self, read: int, gate: int) -> int:
        """A word that was read enters the lanes in the cycle returned, not before ``gate``."""
        entered = max(read + READ, self._lanes[-1] + 1, gate)
        while entered in self._still:
            entered += 1
        self._lanes.append(entered)
        return entered

    def _moved(self, cycle: int, cycles: int) -> int:
        """Cycle in which the lanes have moved so often."""
        for still in self._still:
            cycles += cycle < still <= cycle + cycles
        return cycle + cycles

    def _write(self, entered: int, latency: int, address: int) -> None:
        """A code is written, or waits until the array leaves its bank."""
        cycle = max(self._moved(entered, latency), self._written + 1)
        free = self.machine.ports.after("codes", address, cycle)
        self._still += range(cycle, free)
        self._written = free


def _row_order(rows: int) -> Iterator[tuple[int, bool]]:
    """Rows of softmax, and whether it is their second pass: first passes go ahead."""
    first = second = 0
    while second < rows:
        while first < rows and first - second < ROWS:
            yield first, False
            first += 1
        yield second, True
        second += 1
