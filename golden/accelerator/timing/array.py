"""Cycles of the array: passes over tiles, and the way of their results to memory."""

from collections import deque
from functools import partial

from golden.accelerator.instruction import Instruction, Opcode, Unit
from golden.accelerator.timing.clock import Process
from golden.accelerator.timing.latencies import Line
from golden.accelerator.timing.machine import Machine
from golden.accelerator.timing.rows import Rows, sets_of
from golden.accelerator.timing.tiles import Tiles

__all__ = ["ArrayUnit"]

SETUP = 3  # cycles from an instruction to its first pass
AHEAD = 2  # passes that are made before they begin
FRONT = 10  # a word's address to the array's input: read 2, lookup 4, skids, operand
HELD = 14  # beats between address and array at most
BACKWARD = 3  # cycles from a beat that the array takes to the address of one that waited
SETTLE = 4  # last beat to the first read of the drain
RESIDUAL = 13  # read of the drain to the read of the residual word
WRITE = 17  # and to the write
COUNT = 2  # from the last write to the count


class ArrayUnit:
    """CONV and MATMUL, pass after pass; results leave through the accumulator's two banks.

    Passes are made two ahead of the one that runs, so the next instruction is taken while the last
    passes of the one before run. All pipeline registers of the array stand still while its output
    waits for a bank of the accumulator: ``_still`` holds these times.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        size = machine.config.size
        self.latency = machine.arithmetic.array_cycles(size)
        self.rows = Rows(machine.clock, machine.ports, machine.weights, size)
        self.begun: list[int] = []  # cycle in which each pass is taken
        self.running: deque[Line] = deque()
        self._still: deque[tuple[int, int]] = deque(maxlen=4)
        self._entered: deque[int] = deque([-HELD] * HELD, HELD)  # of the last beats
        self._asked = 0  # address of the last beat
        self._banks = [0, 0]  # first cycle in which each bank takes beats
        self._bank = 0
        self._drained = 0  # last read of a drain
        self._read = 0  # of the pass, as far as it does not wait for the array

    def take(self) -> Process:
        """Take instructions as long as there is room for their passes."""
        machine, queue, rows = self.machine, self.machine.queues[Unit.ARRAY], self.rows
        free = 0
        while True:
            yield lambda: bool(queue)
            i = queue[0].instruction
            yield lambda i=i: machine.may_start(i)  # type: ignore[misc]
            yield max(free, machine.clock.now)
            line = machine.take(Unit.ARRAY)
            line.start = machine.clock.now
            made = line.start + SETUP - 1
            sets = sets_of(i, machine.config.size)
            rows.sets += sets
            self.running.append(line)
            for _ in sets:
                number = len(rows.offered) - AHEAD
                made += 1
                if number >= 0:
                    if min(len(self.begun), len(rows.consumed)) <= number:
                        yield lambda n=number: (  # type: ignore[misc]
                            min(len(self.begun), len(rows.consumed)) > n
                        )
                    made = max(made, self.begun[number] + 1, rows.consumed[number] + 1)
                rows.offered.append(made + 1)
            free = made + 1

    def run(self) -> Process:
        """Run instructions."""
        machine = self.machine
        while True:
            yield lambda: bool(self.running)
            line = self.running.popleft()
            i = line.instruction
            tiles = Tiles.of(i)
            counted = 0
            for chunk in range(i["chunks"]):
                place = 0
                for pixels in tiles.pixels:
                    for number in range(tiles.passes):
                        part, rest = divmod(number, tiles.passes_a_chunk)
                        if rest == 0:
                            if not machine.chunk_ready(i, part):
                                yield partial(machine.chunk_ready, i, part)
                            counted = machine.reached(i, part) + 1
                        yield from self._pass(i, counted, pixels, first=number == 0)
                        line.beats += pixels
                    self._drain(i, chunk, place, pixels)
                    place += pixels
                machine.count(Unit.ARRAY, self._drained + WRITE + COUNT)
            machine.finish(line, self._drained + WRITE + COUNT)

    def _pass(self, i: Instruction, counted: int, pixels: int, *, first: bool) -> Process:
        """One word of every pixel; ``first``: of a tile."""
        machine, rows = self.machine, self.rows
        number = len(self.begun)
        if len(rows.offered) <= number:
            yield lambda: len(rows.offered) > number
        permitted = max(rows.offered[number], counted, self.begun[-1] + 1 if number else 0) + 1
        begun = max(permitted, self._asked)
        self.begun.append(begun)
        before = list(self._entered)
        address = max(begun + 1, before[0] + BACKWARD)
        if machine.shares:
            self._claim(i, address, before, pixels)
        if len(rows.full) <= number:
            yield lambda: len(rows.full) > number
        start = self._moving(max(address + FRONT, before[-1] + 1, rows.full[number]))
        rows.swaps.append(start)
        if first:
            out = self._after(start, self.latency - 1) + 1
            if out < self._banks[self._bank]:
                self._still.append((out, self._banks[self._bank]))
        self._entered.extend(
            self._after(start, beat) for beat in range(max(pixels - HELD, 0), pixels)
        )
        self._asked = max(
            address + pixels - 1,
            *(before[beat] + BACKWARD + pixels - 1 - beat for beat in range(min(pixels, HELD))),
        )
        if pixels > HELD:
            waited = self._after(start, pixels - 1 - HELD) + BACKWARD
            self._asked = max(self._asked, waited)
            if machine.shares:
                self._claim_rest(i, start, pixels)

    def _claim(self, i: Instruction, address: int, before: list[int], pixels: int) -> None:
        """Reads of a pass up to those that wait for the array to begin."""
        cycle = address
        for beat in range(min(pixels, HELD - 1)):
            cycle = max(cycle + 1, before[beat + 1] + BACKWARD)
            self.machine.ports.hold("operand", i["source0"], cycle, 1)
        self._read = cycle

    def _claim_rest(self, i: Instruction, start: int, pixels: int) -> None:
        """The others."""
        hold, cycle = self.machine.ports.hold, self._read
        if self._after(start, pixels - 1) == start + pixels - 1:
            hold("operand", i["source0"], max(cycle + 1, start + BACKWARD), pixels - HELD + 1)
            return
        for beat in range(HELD - 1, pixels):
            cycle = max(cycle + 1, self._after(start, beat - HELD + 1) + BACKWARD)
            hold("operand", i["source0"], cycle, 1)

    def _moving(self, cycle: int) -> int:
        """First cycle from ``cycle`` on in which the array moves."""
        for first, end in self._still:
            if first <= cycle < end:
                cycle = end
        return cycle

    def _after(self, cycle: int, beats: int) -> int:
        """Cycle in which the array has moved ``beats`` times more."""
        after = cycle + beats
        for first, end in self._still:
            if cycle < first <= after:
                after += end - first
        return after

    def _drain(self, i: Instruction, chunk: int, place: int, pixels: int) -> None:
        """The tile's last beat is on its way: its results leave when the bank before is empty."""
        machine = self.machine
        last = self._after(self._entered[-1], self.latency)
        begin = max(last + SETTLE, self._drained + 1)
        self._drained = begin + pixels - 1
        self._banks[self._bank] = begin + pixels
        self._bank ^= 1
        if i.opcode is Opcode.CONV and i["residual"]:
            word = i["auxiliary"] + chunk * i["auxiliary_plane"] + place
            machine.ports.take("residual", word, pixels, begin + RESIDUAL)
        word = i["destination"] + chunk * i["destination_plane"] + place
        port = "codes" if i["narrow"] else "stream"
        machine.ports.take(port, word, pixels, begin + WRITE)
