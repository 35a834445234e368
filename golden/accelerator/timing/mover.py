"""Cycles of LOAD and STORE: words and beats of the bus, cut into each other."""

from collections import deque
from collections.abc import Generator
from itertools import accumulate

from golden.accelerator.instruction import Instruction, Opcode, Unit
from golden.accelerator.timing.bus import burst_lengths
from golden.accelerator.timing.clock import Condition, Process
from golden.accelerator.timing.machine import Machine

__all__ = ["Mover"]

READ = 2  # cycles from a read to its word
AHEAD = 4  # words that are read and not sent
BUFFER = 64  # beats of the writer
READERS = ("residual", "vector")  # with priority
WRITERS = ("stream", "sampled")


class Mover:
    """One instruction at a time; its words wait for those of the array and the vector unit."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._beats: deque[int] = deque()
        self._done = 0  # cycle of the finish
        machine.bus.connect("data", self._deliver)

    def _deliver(self, first: int, beats: int) -> None:
        self._beats.extend(range(first, first + beats))

    def run(self) -> Process:
        """Run instructions."""
        machine = self.machine
        queue, clock = machine.queues[Unit.MOVER], machine.clock
        free = 0
        while True:
            yield lambda: bool(queue)
            i = queue[0].instruction
            yield lambda i=i: machine.may_start(i)  # type: ignore[misc]
            yield max(free, clock.now)
            line = machine.take(Unit.MOVER)
            line.start = clock.now
            beats = -(-i["words"] * machine.config.word_bytes // machine.memory.width)
            line.beats = beats
            offset = i["offset"] + i["step_stride"] * machine.place.step
            yield from (
                self._load(i, offset, beats)
                if i.opcode is Opcode.LOAD
                else self._store(i, offset, beats)
            )
            machine.count(Unit.MOVER, self._done)
            machine.finish(line, self._done)
            free = self._done

    def _load(self, i: Instruction, offset: int, beats: int) -> Process:
        """Beats to words; a word is written when all of it is there."""
        machine = self.machine
        bus, now, word_bytes = machine.bus, machine.clock.now, machine.config.word_bytes
        width = machine.memory.width
        bus.ask("data", offset, beats, now + 1)
        taken = written = now
        word = 0
        for beat in range(beats):
            yield lambda: bool(self._beats)
            taken = max(self._beats.popleft(), taken + 1, written)
            bus.free("data", taken + 1)
            while (word + 1) * word_bytes <= (beat + 1) * width and word < i["words"]:
                written = max(written, taken) + 1
                written = yield from self._granted(WRITERS, i["destination"] + word, written)
                word += 1
        self._done = written + 1

    def _granted(
        self, ports: tuple[str, str], address: int, cycle: int
    ) -> Generator[int | Condition, None, int]:
        """First cycle in which the units with priority leave the bank; return it."""
        machine = self.machine
        while True:
            yield max(cycle, machine.clock.now)
            later = max(machine.ports.after(port, address, cycle) for port in ports)
            if later == cycle:
                return cycle
            cycle = later

    def _store(self, i: Instruction, offset: int, beats: int) -> Process:
        """Words to beats, to bursts, to their responses."""
        machine = self.machine
        sent: list[int] = []  # cycle in which each beat enters the writer
        left = deque([-1] * AHEAD, AHEAD)  # words that were handed on
        writes: list[int] = []  # cycle in which each beat is on the bus
        begun = machine.clock.now + 2
        read = begun - 1
        ready = begun + 1  # the writer may begin a burst
        ends = deque(accumulate(burst_lengths(offset, beats, machine.memory.width)))
        each = machine.config.word_bytes / machine.memory.width
        full = -1
        responses = 0
        for word in range(i["words"]):
            read = max(read + 1, left[0] + 1)
            read = yield from self._granted(READERS, i["source0"] + word, read)
            given = read + READ
            if each > 1:
                for _ in range(int(each)):
                    given = max(given, sent[-1] + 1 if sent else 0)
                    if len(sent) >= BUFFER:
                        given = max(given, writes[len(sent) - BUFFER] + 1)
                    sent.append(given)
                left.append(given)
            else:
                given = max(given, left[-1] + 1, full)
                left.append(given)
                if (word + 1) * each == len(sent) + 1 or word + 1 == i["words"]:
                    full = given + 1
                    if len(sent) >= BUFFER:
                        full = max(full, writes[len(sent) - BUFFER] + 1)
                    sent.append(full)
            while len(writes) < beats and len(sent) >= ends[0]:
                begin = max(ready, sent[ends[0] - 1] + 1)
                writes += range(begin + 1, begin + 1 + ends[0] - len(writes))
                ends.popleft()
                ready = writes[-1] + 2
                answered = writes[-1] + max(machine.memory.latency, 1)
                responses = max(answered, responses + 1)
        rest = writes[-1] + 1
        idle = max(rest, responses + 1)
        self._done = idle + 1
