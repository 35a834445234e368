"""Cycles of the array and the vector unit: passes over tiles, and passes over chunks."""

from golden.accelerator.instruction import Instruction, Opcode, Unit
from golden.accelerator.timing.clock import Process
from golden.accelerator.timing.machine import Machine
from golden.accelerator.timing.tiles import Tiles

__all__ = ["ArrayUnit", "VectorUnit"]


class ArrayUnit:
    """CONV and MATMUL, pass after pass; results leave through the accumulator's two banks."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        size = machine.config.size
        self.depth = machine.latencies.front + machine.latencies.array(size)
        self.swapped = 0  # cycle of the last swap of weights
        self.drained = [0, 0]  # first cycle in which each accumulator bank is free
        self.bank = 0
        self.drain_free = 0

    def run(self) -> Process:
        """Run instructions until the section ends."""
        machine, queue = self.machine, self.machine.queues[Unit.ARRAY]
        while True:
            yield lambda: machine.next_line(Unit.ARRAY)
            if not queue:
                return
            line = queue.popleft()
            i = line.instruction
            tiles = Tiles.of(i)
            yield lambda i=i: machine.may_start(i)  # type: ignore[misc]
            line.start = machine.clock.now
            ends = []
            for chunk in range(i["chunks"]):
                for number, pixels in enumerate(tiles.pixels):
                    yield self.drained[self.bank]
                    for number_of_pass in range(tiles.passes):
                        part, rest = divmod(number_of_pass, tiles.passes_a_chunk)
                        if chunk == number == rest == 0:
                            yield lambda i=i, c=part: machine.chunk_ready(i, c)  # type: ignore[misc]
                        if i.opcode is Opcode.CONV:
                            yield lambda: bool(machine.weights)
                        first = chunk == number == number_of_pass == 0
                        yield self._swap(i, first=first)
                        self.swapped = machine.clock.now
                        line.beats += pixels
                        yield machine.clock.now + pixels
                    ends.append(self._drain(pixels))
                machine.count(Unit.ARRAY, ends[-1])
            machine.finish(line, ends[-1])

    def _swap(self, i: Instruction, *, first: bool) -> int:
        """First cycle in which the next pass can begin: its weights are in the array.

        Rows of the next set are taken from the swap on; those of a MATMUL are first read when it
        starts, and pass the transposer if they are K.
        """
        size, now = self.machine.config.size, self.machine.clock.now
        if i.opcode is Opcode.MATMUL:
            if first:
                return now + (2 * size if i["transpose"] else size)
            return max(now, self.swapped + size)
        begin, end = self.machine.weights.popleft()
        self.machine.room += 1
        loaded = max(self.swapped + size, begin + size, end + 1)
        return max(now, loaded - self.machine.latencies.front)

    def _drain(self, pixels: int) -> int:
        """The tile's last beat has entered; return the cycle of its last write."""
        latencies = self.machine.latencies
        finish = self.machine.clock.now - 1 + self.depth
        begin = max(finish + latencies.drain, self.drain_free)
        self.drain_free = begin + pixels
        # the bank takes beats again when its last read is issued
        self.drained[self.bank] = self.drain_free - self.depth
        self.bank ^= 1
        return self.drain_free + latencies.back


class VectorUnit:
    """NORM, EDGE, SOFTMAX and SAMPLE: a word a cycle."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def run(self) -> Process:
        """Run instructions until the section ends."""
        machine, queue = self.machine, self.machine.queues[Unit.VECTOR]
        while True:
            yield lambda: machine.next_line(Unit.VECTOR)
            if not queue:
                return
            line = queue.popleft()
            i = line.instruction
            yield lambda i=i: machine.may_start(i)  # type: ignore[misc]
            line.start = machine.clock.now
            words = i["height"] * i["width"]
            if i.opcode in (Opcode.NORM, Opcode.EDGE):
                words = i["rows"] * i["width"]
                chunks = i["chunks0"] + i["chunks1"]
                if i.opcode is Opcode.EDGE and i["window"]:
                    chunks, words = i["chunks"], words + i["width"] + 1
                ready: list[int] = []
                machine.clock.add("constants", self._constants(i, chunks, ready))
                for chunk in range(chunks):
                    yield lambda c=chunk, r=ready: len(r) > c  # type: ignore[misc]
                    yield ready[chunk]
                    line.beats += words
                    yield machine.clock.now + words
                    machine.count(Unit.VECTOR, machine.clock.now + machine.latencies.vector)
                machine.finish(line, machine.clock.now + machine.latencies.vector)
                continue
            if i.opcode is Opcode.SOFTMAX:
                line.beats = 2 * i["rows"] * i["width"] * i["chunks0"]
                latency = machine.latencies.softmax
            else:
                line.beats = words * i["channels"]
                latency = machine.latencies.sampler
            yield machine.clock.now + line.beats
            machine.count(Unit.VECTOR, machine.clock.now + latency)
            machine.finish(line, machine.clock.now + latency)

    def _constants(self, i: Instruction, chunks: int, ready: list[int]) -> Process:
        """Append the cycle from which each chunk may pass: its words, or Am, B and F, are there.

        The engine works on the next chunk while one passes.
        """
        latencies = self.machine.latencies
        work = latencies.group + self.machine.config.size * latencies.channel
        for chunk in range(chunks):
            yield lambda c=chunk: self.machine.chunk_ready(i, c)  # type: ignore[misc]
            if i.opcode is Opcode.NORM:
                yield self.machine.clock.now + work
            ready.append(self.machine.clock.now)
