"""The cycle model's machine: fetch, dispatch, counts, external memory, tables and weights.

Reads are granted in request order, so data of the next burst follow at
``max(request + latency, end of the data before)``.
"""

from collections import Counter, deque
from collections.abc import Sequence
from functools import partial

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import INSTRUCTION_BYTES, Instruction, Opcode, Unit
from golden.accelerator.legality import output_count
from golden.accelerator.legality_engine import check_steps
from golden.accelerator.legality_program import External
from golden.accelerator.program import GROUP_HEADER_WORDS, NORM_HEADER_WORDS
from golden.accelerator.timing.clock import Clock, Process
from golden.accelerator.timing.latencies import Latencies, Line, Memory, Place
from golden.accelerator.timing.tiles import Tiles

__all__ = ["LONG_AGO", "Machine"]

QUEUE = 2  # instructions that wait behind the one that a unit runs
PREFETCH = 3  # instructions asked for beside the one that is checked
FIFO_SETS = 4  # sets of weights in front of the array
ROW_WORDS = 8  # of a sampler row
READ_BEATS = 64  # of a client of the bus
BURST_WORDS = 16
LONG_AGO = -1000
TAKEN = 3  # cycles from a request to the next one of the same client
REGION_BYTES = (1 << 32) - 1
REGIONS = (External.PROGRAM_BYTES, External.WEIGHTS_BYTES, External.TABLES_BYTES,
           External.DATA_BYTES)  # fmt: skip
COUNTS = {Unit.ARRAY: External.COUNT_ARRAY, Unit.VECTOR: External.COUNT_VECTOR,
          Unit.MOVER: External.COUNT_MOVER}  # fmt: skip
WITHOUT_BANK = (Opcode.TABLE, Opcode.SAMPLE, Opcode.LOAD, Opcode.STORE)


class Machine:
    """State that the units share while a section runs."""

    def __init__(
        self,
        config: AcceleratorConfig,
        instructions: Sequence[Instruction],
        memory: Memory,
        latencies: Latencies,
        place: Place,
    ) -> None:
        self.config, self.memory, self.latencies = config, memory, latencies
        self.place = place
        self.clock = Clock()
        self.lines = [Line(instruction) for instruction in instructions]
        self.counts = {Unit.ARRAY: 0, Unit.VECTOR: 0, Unit.MOVER: 0}
        self.seen = dict(self.counts)  # by instructions that wait in a queue
        self.counted: dict[Unit, list[int]] = {unit: [] for unit in self.counts}
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
        self.loaded = 0  # instructions that were taken out of memory's buffer
        self.unfinished = 0
        self.streams: deque[int] = deque()  # sets of weights of each CONV that was dispatched
        self.weight_jobs = 0  # CONVs whose requests are not all made
        self.weights: deque[tuple[int, int]] = deque()  # first and last data cycle of each set
        # a set is in the loader's buffer, or in that of the bus
        self.room = FIFO_SETS + READ_BEATS * memory.width // config.size**2
        self.waiting: Counter[Unit] = Counter()  # pushed, and not taken by their unit
        self.dispatched_counts = {Unit.ARRAY: 0, Unit.VECTOR: 0, Unit.MOVER: 0}

    def read(self, size: int) -> tuple[int, int]:
        """Request ``size`` bytes now; return first and last cycle of the data."""
        first = max(self.clock.now + self.latencies.way(self.memory), self.data_free)
        beats = -(-size // self.memory.width)
        self.data_free = first + beats
        self.bytes_read += size
        self.reads.append((first, beats))
        return first, first + beats - 1

    def take(self, unit: Unit) -> Line:
        """Take the next instruction of a unit."""
        self.waiting[unit] -= 1
        return self.queues[unit].popleft()

    def next_line(self, unit: Unit) -> bool:
        """Whether the unit has something to do, or never will again."""
        return bool(self.queues[unit]) or (self.ended and not self.waiting[unit])

    def may_start(self, i: Instruction) -> bool:
        """Whether the waits of an instruction hold and its tables are there."""
        if i.opcode is Opcode.SAMPLE and not (i["image"] or self.row_loaded):
            return False
        if i.opcode not in WITHOUT_BANK and self.sets.get(i["bank"]) != i["table_set"]:
            return False
        waits = {Unit.ARRAY: i["wait_array"], Unit.VECTOR: i["wait_vector"]}
        if i.unit is not Unit.MOVER:
            waits[Unit.MOVER] = i["wait_mover"]
        return all(self.seen[unit] >= count for unit, count in waits.items())

    def chunk_ready(self, i: Instruction, chunk: int) -> bool:
        """Whether input chunk ``chunk`` may be read."""
        unit = Unit(i["step_unit"])
        if unit is Unit.NONE:
            return True
        return self.counts[unit] >= min(i["step_base"] + chunk, i["step_cap"])

    def reached(self, i: Instruction, chunk: int) -> int:
        """Cycle in which the count that ``chunk`` waits for was reached; long ago for none."""
        unit = Unit(i["step_unit"])
        need = 0 if unit is Unit.NONE else min(i["step_base"] + chunk, i["step_cap"])
        return self.counted[unit][need - 1] if need else LONG_AGO

    def count(self, unit: Unit, cycle: int) -> None:
        """A chunk of the unit's output is written in ``cycle``."""

        def add() -> None:
            self.counts[unit] += 1
            self.counted[unit].append(self.clock.now)
            self.clock.at(self.clock.now + self.latencies.queue, see)

        def see() -> None:
            self.seen[unit] += 1

        self.clock.at(cycle, add)

    def finish(self, line: Line, cycle: int) -> None:
        """The line's last word is written in ``cycle``."""

        def leave() -> None:
            line.end = self.clock.now
            self.unfinished -= 1
            if line.instruction.opcode not in WITHOUT_BANK:
                self.clock.at(self.clock.now + self.latencies.queue, release)

        def release() -> None:
            self.bank_finished[line.instruction["bank"]] += 1

        self.clock.at(cycle, leave)

    def fetch(self) -> Process:
        """Read instructions ahead of dispatch."""
        for number in range(len(self.lines)):
            yield lambda n=number: n - self.loaded < PREFETCH  # type: ignore[misc]
            self.fetched.append(self.read(INSTRUCTION_BYTES)[1] + 1)

    def dispatch(self) -> Process:
        """Check instructions, and hand them to the queues of their units."""
        beats = -(-INSTRUCTION_BYTES // self.memory.width)
        free = 0
        for number, line in enumerate(self.lines):
            yield lambda n=number: len(self.fetched) > n  # type: ignore[misc]
            yield max(self.fetched[number], free, self.clock.now)
            self.loaded += 1
            yield self.clock.now + self._check(line.instruction) + 1
            if line.instruction.opcode is Opcode.END:
                self.ended = True
                yield lambda: self.unfinished == 0
                line.dispatch = line.start = line.end = self.clock.now
                return
            asked = self.clock.now
            yield partial(self._has_room, line.instruction)
            yield self.clock.now + (self.clock.now > asked)
            self._enter(line)
            free = self.clock.now + 1 + beats

    def _has_room(self, i: Instruction) -> bool:
        """Whether the queues that an instruction enters take it."""
        weighs = i.opcode is Opcode.CONV
        return self.waiting[i.unit] < QUEUE and not (weighs and self.weight_jobs > QUEUE)

    def _check(self, i: Instruction) -> int:
        """Cycles of the legality check."""
        beside = dict.fromkeys(REGIONS, REGION_BYTES)
        beside |= {COUNTS[unit]: count for unit, count in self.dispatched_counts.items()}
        place = self.place
        beside |= {
            External.STEPS: place.steps,
            External.GROUPS: place.groups,
            External.STEP: place.step,
            External.GROUP: place.group,
            External.ROW_KNOWN: 1,
        }
        if i.opcode not in WITHOUT_BANK and i.opcode is not Opcode.END:
            # the set is there: a program that is timed is legal
            beside |= {External.SET_KNOWN: 1, External.SET: i["table_set"],
                       External.SET_CHUNKS: 255, External.SET_NORM_CHUNKS: 255}  # fmt: skip
        return check_steps(self.config, i, beside).cycles

    def _enter(self, line: Line) -> None:
        i = line.instruction
        line.dispatch = self.clock.now
        self.unfinished += 1
        queue = self.queues[i.unit]
        self.waiting[i.unit] += 1
        self.clock.at(self.clock.now + self.latencies.queue, lambda: queue.append(line))
        if i.unit in self.dispatched_counts:
            self.dispatched_counts[i.unit] += output_count(i)
        if i.opcode is Opcode.CONV:
            tiles = Tiles.of(i)
            sets = tiles.passes * len(tiles.pixels) * i["chunks"]
            self.weight_jobs += 1
            self.clock.at(self.clock.now + self.latencies.queue, lambda: self.streams.append(sets))
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
            line = self.take(Unit.LOADER)
            i = line.instruction
            if i["sampler_row"]:
                line.start = self.clock.now
                yield self.read(4 * ROW_WORDS)[0] + ROW_WORDS + self.latencies.commit
                self.finish(line, self.clock.now)
                self.clock.at(self.clock.now + self.latencies.queue, partial(self._hold, i))
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
            line.beats = GROUP_HEADER_WORDS + 2 * lanes
            line.beats += NORM_HEADER_WORDS + norm if norm else 0
            yield max(first + line.beats, last + 1) + self.latencies.commit
            self.finish(line, self.clock.now)
            self.clock.at(self.clock.now + self.latencies.queue, partial(self._hold, i))

    def _hold(self, i: Instruction) -> None:
        """Instructions that wait for a table see that it is there."""
        if i["sampler_row"]:
            self.row_loaded = True
        else:
            self.sets[i["bank"]] = i["table_set"]

    def _take_weights(self) -> None:
        self.weight_jobs -= 1

    def make_room(self) -> None:
        """A set of weights has left the buffer."""
        self.room += 1

    def weigh(self) -> Process:
        """Keep the weight buffer full, in the order of the CONVs that were dispatched."""
        size = self.config.size
        while True:
            yield lambda: bool(self.streams) or (self.ended and self.unfinished == 0)
            if not self.streams:
                return
            sets = self.streams.popleft()
            for number in range(sets):
                yield lambda: self.room > 0
                self.room -= 1
                self.weights.append(self.read(size * size))
                if number == max(sets - 2, 0):
                    # the last request is taken: so is the next CONV
                    self.clock.at(self.clock.now + TAKEN, self._take_weights)

    def move(self) -> Process:
        """LOAD and STORE: bursts of words, one after the other."""
        while True:
            yield lambda: self.next_line(Unit.MOVER)
            if not self.queues[Unit.MOVER]:
                return
            line = self.take(Unit.MOVER)
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
