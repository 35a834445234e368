"""The cycle model's machine: fetch, dispatch, counts, and what lets instructions start."""

from collections import Counter, deque
from collections.abc import Sequence
from functools import partial

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import INSTRUCTION_BYTES, Instruction, Opcode, Unit
from golden.accelerator.legality import output_count
from golden.accelerator.legality_engine import check_steps
from golden.accelerator.legality_program import External
from golden.accelerator.timing.bus import Bus
from golden.accelerator.timing.clock import Clock, Process
from golden.accelerator.timing.latencies import Arithmetic, Line, Memory, Place
from golden.accelerator.timing.ports import Ports
from golden.accelerator.timing.weights import Weights

__all__ = ["LONG_AGO", "QUEUED", "Machine"]

QUEUE = 2  # instructions that wait behind the one that a unit runs
PREFETCH = 3  # instructions asked for beside the one that is checked
QUEUED = 2  # cycles from dispatch to the unit; a count or a table to what waits for it
LONG_AGO = -1000
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
        place: Place,
        arithmetic: Arithmetic,
    ) -> None:
        self.config, self.memory = config, memory
        self.place, self.arithmetic = place, arithmetic
        self.clock = Clock()
        self.lines = [Line(instruction) for instruction in instructions]
        self.counts = {Unit.ARRAY: 0, Unit.VECTOR: 0, Unit.MOVER: 0}
        self.seen = dict(self.counts)  # by instructions that wait in a queue
        self.counted: dict[Unit, list[int]] = {unit: [] for unit in self.counts}
        self.queues: dict[Unit, deque[Line]] = {unit: deque() for unit in Unit}
        self.ended = False
        self.sets: dict[int, int] = {}  # bank -> table set that is loaded
        self.row_loaded = False
        self.bank_issued: Counter[int] = Counter()
        self.bank_finished: Counter[int] = Counter()
        self.unfinished = 0
        self.shares = any(i.opcode is Opcode.MATMUL for i in instructions)  # banks of codes
        self.ports = Ports(self.clock, config)
        self.bus = Bus(self.clock, memory)
        self._arrived: deque[int] = deque()  # beats of instructions
        self._fetched: list[int] = []  # cycle in which the last beat of each was taken
        self.waiting: Counter[Unit] = Counter()  # pushed, and not taken by their unit
        self.dispatched_counts = {Unit.ARRAY: 0, Unit.VECTOR: 0, Unit.MOVER: 0}

    def connect(self) -> None:
        """Add the clients that stand here to the bus, behind the tables."""
        self.bus.connect("program", self._deliver)
        self.weights = Weights(self.clock, self.bus, self.config.size)

    def take(self, unit: Unit) -> Line:
        """Take the next instruction of a unit."""
        self.waiting[unit] -= 1
        return self.queues[unit].popleft()

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
            self.clock.at(self.clock.now + QUEUED, see)

        def see() -> None:
            self.seen[unit] += 1

        self.clock.at(cycle, add)

    def finish(self, line: Line, cycle: int) -> None:
        """The line's last word is written in ``cycle``."""

        def leave() -> None:
            line.end = self.clock.now
            self.unfinished -= 1
            if line.instruction.opcode not in WITHOUT_BANK:
                self.clock.at(self.clock.now + QUEUED, release)

        def release() -> None:
            self.bank_finished[line.instruction["bank"]] += 1

        self.clock.at(cycle, leave)

    def _deliver(self, first: int, beats: int) -> None:
        self._arrived.append(first + beats - 1)

    def fetch(self) -> Process:
        """Ask for instructions ahead of dispatch."""
        beats = -(-INSTRUCTION_BYTES // self.memory.width)
        accepted: list[int] = []
        for number in range(len(self.lines)):
            valid = accepted[-1] + 1 if accepted else 0
            if number >= PREFETCH:
                yield lambda n=number: len(self._fetched) > n - PREFETCH  # type: ignore[misc]
                valid = max(valid, self._fetched[number - PREFETCH] + 1)
            self.bus.ask("program", 0, beats, valid, accepted.append)
            yield lambda n=number: len(accepted) > n  # type: ignore[misc]

    def dispatch(self) -> Process:
        """Check instructions, and hand them to the queues of their units."""
        beats = -(-INSTRUCTION_BYTES // self.memory.width)
        for line in self.lines:
            free = self.clock.now + beats
            yield lambda: bool(self._arrived)
            fetched = max(self._arrived.popleft(), free if self._fetched else 0)
            self._fetched.append(fetched)
            for beat in range(beats):
                self.bus.free("program", fetched - beats + beat + 2)
            yield fetched + 1
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

    def _has_room(self, i: Instruction) -> bool:
        """Whether the queues that an instruction enters take it."""
        weighs = i.unit is Unit.ARRAY
        return self.waiting[i.unit] < QUEUE and not (weighs and self.weights.waiting >= QUEUE)

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
        self.clock.at(self.clock.now + QUEUED, lambda: queue.append(line))
        if i.unit in self.dispatched_counts:
            self.dispatched_counts[i.unit] += output_count(i)
        if i.opcode is Opcode.CONV:
            self.weights.push(i)
        if i.opcode is Opcode.TABLE:
            line.bank_users = 0 if i["sampler_row"] else self.bank_issued[i["bank"]]
        elif i.opcode not in WITHOUT_BANK:
            self.bank_issued[i["bank"]] += 1

    def hold(self, i: Instruction) -> None:
        """Instructions that wait for a table see that it is there."""
        if i["sampler_row"]:
            self.row_loaded = True
        else:
            self.sets[i["bank"]] = i["table_set"]
