"""Cycles of the array and the vector unit: passes over tiles, and passes over chunks."""

from collections import deque
from itertools import accumulate

from golden.accelerator.instruction import Instruction, Opcode, Unit
from golden.accelerator.timing.clock import Process
from golden.accelerator.timing.latencies import Line
from golden.accelerator.timing.machine import LONG_AGO, Machine
from golden.accelerator.timing.tiles import Tiles

__all__ = ["ArrayUnit", "VectorUnit"]


class ArrayUnit:
    """CONV and MATMUL, pass after pass; results leave through the accumulator's two banks.

    Passes are made two ahead of the one that runs, so the next instruction is taken while the last
    passes of the one before run.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        size = machine.config.size
        self.depth = machine.latencies.front + machine.latencies.array(size)
        self.swapped = 0  # cycle of the last swap of weights
        self.drained = [0, 0]  # first cycle in which each accumulator bank is free
        self.bank = 0
        self.drain_free = 0
        self.operand_bank = -1  # of the code scratchpad, that the pass before reads
        self.begun: list[int] = []  # cycle in which the first word of each pass is read
        self.asked = 0  # and the last one was
        self.passes = 0  # of all instructions that were taken
        self.taken: deque[Line] = deque()

    def take(self) -> Process:
        """Take instructions as long as there is room for their passes."""
        machine, queue = self.machine, self.machine.queues[Unit.ARRAY]
        while True:
            yield lambda: machine.next_line(Unit.ARRAY)
            if not queue:
                return
            i = queue[0].instruction
            yield lambda i=i: machine.may_start(i)  # type: ignore[misc]
            line = machine.take(Unit.ARRAY)
            line.start = machine.clock.now
            self.taken.append(line)
            tiles = Tiles.of(i)
            passes = tiles.passes * len(tiles.pixels) * i["chunks"]
            self.passes += passes
            yield machine.clock.now + machine.latencies.passes + passes
            # the last one is made when the pass two before it begins
            yield lambda n=self.passes - 2: len(self.begun) >= n  # type: ignore[misc]
            if self.passes > AHEAD:
                yield max(machine.clock.now, self.begun[self.passes - AHEAD - 1] + 1)

    def run(self) -> Process:
        """Run instructions until the section ends."""
        machine = self.machine
        latencies = machine.latencies
        while True:
            yield lambda: bool(self.taken) or (machine.ended and not machine.waiting[Unit.ARRAY])
            if not self.taken:
                return
            line = self.taken.popleft()
            i = line.instruction
            tiles = Tiles.of(i)
            yield max(machine.clock.now, line.start + latencies.walk)
            ends = []
            for chunk in range(i["chunks"]):
                for number, pixels in enumerate(tiles.pixels):
                    yield self.drained[self.bank]
                    for number_of_pass in range(tiles.passes):
                        part, rest = divmod(number_of_pass, tiles.passes_a_chunk)
                        counted = LONG_AGO
                        if chunk == number == rest == 0:
                            yield lambda i=i, c=part: machine.chunk_ready(i, c)  # type: ignore[misc]
                            counted = machine.reached(i, part) + latencies.permit
                            yield max(machine.clock.now, counted)
                        if i.opcode is Opcode.CONV:
                            yield lambda: bool(machine.weights)
                        first = chunk == number == number_of_pass == 0
                        yield self._swap(line, first=first)
                        self.operand_bank = self._bank(i["source0"])
                        self.swapped = machine.clock.now
                        self._ask(machine.clock.now, counted, pixels)
                        line.beats += pixels
                        yield machine.clock.now + pixels
                    ends.append(self._drain(pixels))
                machine.count(Unit.ARRAY, ends[-1])
            machine.finish(line, ends[-1])

    def _swap(self, line: Line, *, first: bool) -> int:
        """First cycle in which the next pass can begin: its weights are in the array.

        Rows of the next set are taken from the swap on; those of a MATMUL are read as soon as it is
        taken, and pass the transposer if they are K.
        """
        size, now, i = self.machine.config.size, self.machine.clock.now, line.instruction
        if i.opcode is Opcode.MATMUL:
            loaded = self.swapped + size
            if first:
                words = 2 * size if i["transpose"] else size
                loaded = max(loaded, line.start + words + self.machine.latencies.fill)
                if self.operand_bank == self._bank(i["auxiliary"]):
                    # the operands of the instruction before had the bank until now
                    conflict = now + words + self.machine.latencies.conflict
                    loaded = max(loaded, conflict - self.machine.latencies.front)
            return max(now, loaded)
        begin, end = self.machine.weights.popleft()
        # its rows leave the buffer one after the other
        self.machine.clock.at(self.machine.clock.now + size + ROOM, self.machine.make_room)
        arrived = max(begin + size, end + 1) + self.machine.latencies.weights
        loaded = max(self.swapped + size, arrived)
        return max(now, loaded - self.machine.latencies.front)

    def _ask(self, begin: int, counted: int, pixels: int) -> None:
        """Words of a pass are read a cycle ahead where the array waited, not before its count."""
        asked = max(self.asked, begin - LEAD, counted)
        self.begun.append(asked)
        self.asked = asked + pixels

    def _bank(self, word: int) -> int:
        return word // self.machine.config.code_bank_words

    def _drain(self, pixels: int) -> int:
        """The tile's last beat has entered; return the cycle of its last write."""
        latencies = self.machine.latencies
        finish = self.machine.clock.now - 1 + self.depth
        begin = max(finish + latencies.drain, self.drain_free)
        self.drain_free = begin + pixels
        # the bank takes beats again when its last read is issued
        self.drained[self.bank] = self.drain_free - 2 - self.depth
        self.bank ^= 1
        return self.drain_free + latencies.back


class VectorUnit:
    """NORM, EDGE, SOFTMAX and SAMPLE: a word a cycle, one instruction after the other.

    An instruction is taken while the one before runs: its constants are fetched, and the sums of a
    NORM joined as soon as they are there.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.held: tuple[Line, list[int]] | None = None  # taken, and not begun
        self.joining = False  # the sums of a norm
        self.idle = 0  # cycle from which the next instruction may begin
        self.given = 0  # cycle in which the newest channel's constants were taken
        self.sets = 0  # chunks of constants that were given
        self.entered: list[int] = []  # first word of each chunk of a NORM

    def take(self) -> Process:
        """Take an instruction as soon as the one before has begun, a NORM when sums are free."""
        machine, queue = self.machine, self.machine.queues[Unit.VECTOR]
        while True:
            yield lambda: machine.next_line(Unit.VECTOR)
            if not queue:
                return
            i = queue[0].instruction
            yield lambda i=i: machine.may_start(i)  # type: ignore[misc]
            yield lambda: self.held is None
            if i.opcode is Opcode.NORM:
                yield lambda: not self.joining
            line = machine.take(Unit.VECTOR)
            line.start = machine.clock.now
            ready: list[int] = []
            if i.opcode is Opcode.NORM:
                self.joining = True
                machine.clock.add("constants", self._constants(i, ready))
            self.held = (line, ready)

    def run(self) -> Process:
        """Run instructions until the section ends."""
        machine, latencies = self.machine, self.machine.latencies
        while True:
            yield (
                lambda: (
                    self.held is not None or (machine.ended and not machine.waiting[Unit.VECTOR])
                )
            )
            if self.held is None:
                return
            line, ready = self.held
            sample = line.instruction.opcode is Opcode.SAMPLE
            fetched = line.start + (1 if sample else latencies.lookup)
            yield max(machine.clock.now, fetched, self.idle)
            self.held = None
            yield machine.clock.now + latencies.setup
            yield from self._words(line, ready)

    def _words(self, line: Line, ready: list[int]) -> Process:
        """Read and write the words of an instruction."""
        machine, latencies, i = self.machine, self.machine.latencies, line.instruction
        if i.opcode in (Opcode.NORM, Opcode.EDGE):
            words, chunks, latency = i["rows"] * i["width"], i["chunks0"] + i["chunks1"], 0
            if i.opcode is Opcode.NORM:
                latency = latencies.silu if i["silu"] else latencies.norm
            elif i["window"]:
                chunks, words = i["chunks"], (i["rows"] + 1) * (i["width"] + 1)
                latency = latencies.window
            else:
                latency = latencies.edge
            for chunk in range(chunks):
                part = 0 if i.opcode is Opcode.EDGE and i["window"] else chunk
                yield lambda c=part: machine.chunk_ready(i, c)  # type: ignore[misc]
                counted = machine.reached(i, part) + latencies.allow
                yield max(machine.clock.now, counted)
                if i.opcode is Opcode.NORM:
                    yield lambda c=chunk: len(ready) > c  # type: ignore[misc]
                    yield max(ready[chunk], machine.clock.now)
                    self.entered.append(machine.clock.now)
                line.beats += words
                yield machine.clock.now + words
                end = machine.clock.now - 1 + latency + latencies.count
                machine.count(Unit.VECTOR, end)
        elif i.opcode is Opcode.SOFTMAX:
            line.beats = 2 * i["rows"] * i["width"] * i["chunks0"]
            for chunk in range(i["chunks0"]):
                yield lambda c=chunk: machine.chunk_ready(i, c)  # type: ignore[misc]
            yield machine.clock.now + line.beats
            levels = (machine.config.size - 1).bit_length()
            end = machine.clock.now - 1 + latencies.row + levels + latencies.count
            machine.count(Unit.VECTOR, end)
        else:
            line.beats = i["height"] * i["width"] * (1 if i["image"] else SAMPLE_WORDS)
            yield lambda: machine.chunk_ready(i, 0)
            each = max(1 if i["image"] else SAMPLE_WORDS, i["channels"])
            yield machine.clock.now + i["height"] * i["width"] * each
            end = machine.clock.now - 1 + latencies.sampler + latencies.count
            machine.count(Unit.VECTOR, end)
        machine.finish(line, end)
        self.idle = end + 1

    def _constants(self, i: Instruction, ready: list[int]) -> Process:
        """Append the cycle from which each chunk may pass.

        Groups go through three stages: their channels are added, r is found, each channel gets its
        constants. Groups may go on in the next chunk. The constants of a chunk are kept from the
        first word of the chunk before on.
        """
        machine, latencies, size = self.machine, self.machine.latencies, self.machine.config.size
        lanes = [min(size, channels - size * n) for channels in (i["channels"], i["channels1"])
                 for n in range(-(-channels // size))]  # fmt: skip
        ends = set(accumulate(lanes))
        begins = {0, *ends}
        now, found, taken, number = machine.clock.now + 1, 0, 0, 0
        left = i["group_channels"]
        for chunk, count in enumerate(lanes):
            waited = left == i["group_channels"]
            if waited:
                yield lambda c=chunk: machine.chunk_ready(i, c)  # type: ignore[misc]
                now = max(now, machine.reached(i, chunk) + 1) + 1
            now += READ_CYCLES
            for lane in range(count):
                now += 1
                left -= 1
                if left:
                    continue
                left = i["group_channels"]
                now = max(now, found + 1)
                found = max(now + latencies.group, taken + 1)
                now += 1
                for _ in range(left):
                    taken = max(self.given, found + 1)
                    self.given = taken + latencies.channel
                    if number in begins:
                        yield lambda: len(self.entered) >= self.sets
                        kept = self.entered[-1] + KEPT if self.sets else 0
                        self.given = max(self.given, kept)
                    number += 1
                    if number in ends:
                        self.sets += 1
                        ready.append(self.given - 1)
                if lane + 1 < count and not waited:
                    waited = True
                    yield lambda c=chunk: machine.chunk_ready(i, c)  # type: ignore[misc]
                    now = max(now, machine.reached(i, chunk) + 1) + 1
            now += 1
        yield max(machine.clock.now, now, taken + 1)
        self.joining = False


ROOM = 6  # cycles from the last row of a set to the next request
LEAD = 1
AHEAD = 2  # passes that are made before they begin
READ_CYCLES = 2  # of an entry of channel_sums
KEPT = 7  # cycles from the first word of a chunk to the next chunk's constants
SAMPLE_WORDS = 3  # x, eps, noise
