"""The cycle model's machine: fetch, dispatch, counts, external memory, tables and weights.

Reads are granted in request order, so data of the next burst follow at
``max(request + latency, end of the data before)``.
"""

from collections import Counter, deque
from collections.abc import Sequence

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import INSTRUCTION_BYTES, Instruction, Opcode, Unit
from golden.accelerator.program import GROUP_HEADER_WORDS, NORM_HEADER_WORDS
from golden.accelerator.timing.clock import Clock, Process
from golden.accelerator.timing.latencies import Latencies, Line, Memory
from golden.accelerator.timing.tiles import Tiles

__all__ = ["Machine"]

QUEUE = 2  # instructions that wait behind the one that a unit runs
PREFETCH = 4  # instructions fetched ahead of dispatch
FIFO_SETS = 4  # sets of weights between memory and array
BURST_WORDS = 16
WITHOUT_BANK = (Opcode.TABLE, Opcode.SAMPLE, Opcode.LOAD, Opcode.STORE)


class Machine:
    """State that the units share while a section runs."""

    def __init__(
        self,
        config: AcceleratorConfig,
        instructions: Sequence[Instruction],
        memory: Memory,
        latencies: Latencies,
    ) -> None:
        self.config, self.memory, self.latencies = config, memory, latencies
        self.clock = Clock()
        self.lines = [Line(instruction) for instruction in instructions]
        self.counts = {Unit.ARRAY: 0, Unit.VECTOR: 0, Unit.MOVER: 0}
        self.queues: dict[Unit, deque[Line]] = {unit: deque() for unit in Unit}
        self.ended = False
        self.data_free = 0
        self.bytes_read = 0
        self.reads: list[tuple[int, int]] = []
        self.sets: dict[int, int] = {}  # bank -> table set that is loaded
        self.row_loaded = False
        self.bank_issued: Counter[int] = Counter()
        self.bank_finished: Counter[int] = Counter()
        self.fetched: list[int] = []
        self.dispatched = 0
        self.unfinished = 0
        self.streams: deque[int] = deque()  # sets of weights of each CONV that was dispatched
        self.weights: deque[tuple[int, int]] = deque()  # first and last data cycle of each set
        self.room = FIFO_SETS

    def read(self, size: int) -> tuple[int, int]:
        """Request ``size`` bytes now; return first and last cycle of the data."""
        first = max(self.clock.now + self.memory.latency, self.data_free)
        beats = -(-size // self.memory.width)
        self.data_free = first + beats
        self.bytes_read += size
        self.reads.append((first, beats))
        return first, first + beats - 1

    def next_line(self, unit: Unit) -> bool:
        """Whether the unit has something to do, or never will again."""
        return self.ended or bool(self.queues[unit])

    def may_start(self, i: Instruction) -> bool:
        """Whether the waits of an instruction hold and its tables are there."""
        if i.opcode is Opcode.SAMPLE and not (i["image"] or self.row_loaded):
            return False
        if i.opcode not in WITHOUT_BANK and self.sets.get(i["bank"]) != i["table_set"]:
            return False
        waits = {Unit.ARRAY: i["wait_array"], Unit.VECTOR: i["wait_vector"]}
        if i.unit is not Unit.MOVER:
            waits[Unit.MOVER] = i["wait_mover"]
        return all(self.counts[unit] >= count for unit, count in waits.items())

    def chunk_ready(self, i: Instruction, chunk: int) -> bool:
        """Whether input chunk ``chunk`` may be read."""
        unit = Unit(i["step_unit"])
        if unit is Unit.NONE:
            return True
        return self.counts[unit] >= min(i["step_base"] + chunk, i["step_cap"])

    def count(self, unit: Unit, cycle: int) -> None:
        """A chunk of the unit's output is written in ``cycle``."""

        def add() -> None:
            self.counts[unit] += 1

        self.clock.at(cycle, add)

    def finish(self, line: Line, cycle: int) -> None:
        """The line's last word is written in ``cycle``."""

        def leave() -> None:
            line.end = self.clock.now
            self.unfinished -= 1
            if line.instruction.opcode not in WITHOUT_BANK:
                self.bank_finished[line.instruction["bank"]] += 1

        self.clock.at(cycle, leave)

    def fetch(self) -> Process:
        """Read instructions ahead of dispatch."""
        for number in range(len(self.lines)):
            yield lambda n=number: n - self.dispatched < PREFETCH  # type: ignore[misc]
            self.fetched.append(self.read(INSTRUCTION_BYTES)[1] + 1)

    def dispatch(self) -> Process:
        """Hand instructions to the queues of their units, at most one a cycle."""
        for number, line in enumerate(self.lines):
            yield lambda n=number: len(self.fetched) > n  # type: ignore[misc]
            yield max(self.fetched[number], self.clock.now)
            queue = self.queues[line.instruction.unit]
            if line.instruction.opcode is Opcode.END:
                self.ended = True
                yield lambda: self.unfinished == 0
                line.dispatch = line.start = line.end = self.clock.now
                return
            yield lambda q=queue: len(q) < QUEUE  # type: ignore[misc]
            self._enter(line)
            yield self.clock.now + 1

    def _enter(self, line: Line) -> None:
        i = line.instruction
        line.dispatch = self.clock.now
        self.dispatched += 1
        self.unfinished += 1
        self.queues[i.unit].append(line)
        if i.opcode is Opcode.CONV:
            tiles = Tiles.of(i)
            self.streams.append(tiles.passes * len(tiles.pixels) * i["chunks"])
        if i.opcode is Opcode.TABLE:
            line.bank_users = 0 if i["sampler_row"] else self.bank_issued[i["bank"]]
        elif i.opcode not in WITHOUT_BANK:
            self.bank_issued[i["bank"]] += 1

    def load(self) -> Process:
        """TABLE: wait for the bank, read the blocks, write a word a cycle."""
        size = self.config.size
        while True:
            yield lambda: self.next_line(Unit.LOADER)
            if not self.queues[Unit.LOADER]:
                return
            line = self.queues[Unit.LOADER].popleft()
            i = line.instruction
            if i["sampler_row"]:
                line.start = self.clock.now
                yield self.read(32)[1] + 1
                self.row_loaded = True
                self.finish(line, self.clock.now)
                continue
            yield lambda x=line: (  # type: ignore[misc]
                self.bank_finished[x.instruction["bank"]] >= x.bank_users
            )
            line.start = self.clock.now
            self.sets.pop(i["bank"], None)
            lanes, norm = i["chunks"] * size, i["norm_chunks"] * size
            first, last = self.read(4 * (GROUP_HEADER_WORDS + lanes))
            last = self.read(2 * lanes)[1]
            if norm:
                last = self.read(4 * (NORM_HEADER_WORDS + norm))[1]
            line.beats = GROUP_HEADER_WORDS + 2 * lanes + norm
            yield max(first + line.beats, last + 1) + self.latencies.commit
            self.sets[i["bank"]] = i["table_set"]
            self.finish(line, self.clock.now)

    def weigh(self) -> Process:
        """Keep the weight buffer full, in the order of the CONVs that were dispatched."""
        size = self.config.size
        while True:
            yield lambda: self.ended or bool(self.streams)
            if not self.streams:
                return
            for _ in range(self.streams.popleft()):
                yield lambda: self.room > 0
                self.room -= 1
                self.weights.append(self.read(size * size))

    def move(self) -> Process:
        """LOAD and STORE: bursts of words, one after the other."""
        while True:
            yield lambda: self.next_line(Unit.MOVER)
            if not self.queues[Unit.MOVER]:
                return
            line = self.queues[Unit.MOVER].popleft()
            i = line.instruction
            yield lambda i=i: self.may_start(i)  # type: ignore[misc]
            line.start = self.clock.now
            line.beats = i["words"] * self.config.word_bytes // self.memory.width
            end = self.clock.now + line.beats + self.memory.latency
            if i.opcode is Opcode.LOAD:
                for first in range(0, i["words"], BURST_WORDS):
                    words = min(BURST_WORDS, i["words"] - first)
                    end = self.read(words * self.config.word_bytes)[1] + 2
                    yield max(self.clock.now + 1, self.data_free - self.memory.latency)
            yield end
            self.count(Unit.MOVER, end)
            self.finish(line, end)
