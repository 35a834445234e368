"""The array's unit in the simulator, with memories and partners around it."""

from abc import ABC, abstractmethod
from types import SimpleNamespace

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring

from golden.accelerator.instruction import Unit
from golden.scale_tables import writes
from hdl.array_back import ArrayBack
from hdl.array_front import ArrayFront
from hdl.array_layouts import ArrayLayouts
from hdl.scale_file import ScaleFile
from tests.amaranth_bench import simulate
from tests.array_programs import COUNTED, UNITS, expected_reads, expected_values, set_rows

__all__ = ["Bench", "ValuesBench", "instruction_value", "parameters"]


def parameters(config):
    """Constructor keywords of the array's blocks."""
    names = ("size", "code_words", "depth", "channel_tiles")
    return {name: getattr(config, name) for name in names}


def instruction_value(layout, instruction):
    """The payload of an instruction; fields that its opcode has not are 0."""
    names = [name for name, _ in layout if name != "opcode"]
    return {"opcode": int(instruction.opcode)} | {
        name: instruction.fields.get(name, 0) for name in names
    }


class Bench(ABC):
    """Runs a program; ``differences`` stays empty if all is equal.

    ``stall``: how often each partner hesitates, 0..1. ``ports``: the unit's, by name.
    """

    def __init__(self, program, *, seed, stall):
        self.program = program
        self.rng = np.random.default_rng(seed)
        self.stall = stall
        self.differences: list[str] = []
        self.busy: list[int] = []
        self.cycles = 0
        self.ports = SimpleNamespace()
        self.layouts = ArrayLayouts(**parameters(program.config))
        self.codes = program.state.codes.copy()
        self.counts = dict.fromkeys(UNITS, 0)
        self.waiting = list(program.instructions)
        self.offered = False
        self.rows = set_rows(program)
        self.reads = [
            (place, need, Unit(i["step_unit"]))
            for i in program.instructions
            for place, need in expected_reads(i)
            if place is not None
        ]
        self.row_at = self.read_at = 0
        self.scale_file = ScaleFile(
            groups=1,
            resident_groups=1,
            steps=1,
            channel_tiles=program.config.channel_tiles,
            lanes=program.config.size,
            conv_side=self.layouts.code_side.size,
            read_side=self.layouts.acc_side.size,
        )

    @abstractmethod
    def _module(self):
        """Return the unit and its scale file, joined."""

    @abstractmethod
    def _drive_sink(self, ctx):
        """Set what takes the results."""

    @abstractmethod
    def _sink(self, ctx, cycle):
        """Take results; return (port, value) to be set after the edge."""

    @abstractmethod
    def _done(self):
        """Whether all results are there."""

    def run(self, limit=40000):
        """Return the cycles from the first instruction on until all is done."""
        simulate(self._module(), self._testbench(limit))
        return self.cycles

    def _join_scale_file(self, m, front, back):
        m.submodules.scale_file = scales = self.scale_file
        wiring.connect(m, front.o_lookup, scales.i_conv)  # type: ignore[attr-defined]
        wiring.connect(m, scales.o_conv, front.i_lookup)  # type: ignore[attr-defined]
        wiring.connect(m, back.o_constants, scales.i_read)  # type: ignore[attr-defined]
        wiring.connect(m, scales.o_read, back.i_constants)  # type: ignore[attr-defined]
        m.d.comb += [
            scales.release_conv.eq(back.released),  # type: ignore[attr-defined]
            scales.release_conv_bank.eq(back.released_bank),  # type: ignore[attr-defined]
        ]

    def _goes(self):
        return self.rng.random() >= self.stall

    def _testbench(self, limit):
        async def testbench(ctx):
            await self._load_tables(ctx)
            for cycle in range(limit):
                self._drive(ctx)
                self._drive_sink(ctx)
                replies = self._answer_reads(ctx, cycle)
                self._take(ctx)
                self.busy.append(ctx.get(self.ports.busy))
                replies += self._sink(ctx, cycle)
                self.cycles = cycle + 1
                if self._done() or len(self.differences) > 5:
                    break
                await ctx.tick()
                for port, value in replies:
                    ctx.set(port, value)
            else:
                self.differences.append(f"not done after {limit} cycles")
            if not self.differences:
                assert not self.waiting
                assert (self.row_at, self.read_at) == (len(self.rows), len(self.reads))

        return testbench

    async def _load_tables(self, ctx):
        port = self.scale_file.i_write  # type: ignore[attr-defined]
        payload = writes(self.scale_file.config, [], self.program.sets).payload
        for beat in range(len(payload["table"])):
            ctx.set(port.payload, {name: int(values[beat]) for name, values in payload.items()})
            ctx.set(port.valid, 1)
            await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)
        await ctx.tick().repeat(4)

    def _may_start(self, instruction):
        return True

    def _drive(self, ctx):
        """Instruction, counts, weights."""
        ports = self.ports
        if self.waiting and not self.offered and self._may_start(self.waiting[0]) and self._goes():
            self.offered = True
            value = instruction_value(self.layouts.instruction, self.waiting[0])
            ctx.set(ports.i.payload, value)
        ctx.set(ports.i.valid, self.offered)
        for unit in UNITS:
            if not self.stall:
                self.counts[unit] = COUNTED
            elif self.counts[unit] < COUNTED and self.rng.random() < 0.02:
                self.counts[unit] += 1
        ctx.set(ports.counts, {UNITS[unit]: count for unit, count in self.counts.items()})
        given = self.row_at < len(self.rows) and self._goes()
        if given:
            ctx.set(ports.i_weights.payload, {"weights": self.rows[self.row_at].tolist()})
        ctx.set(ports.i_weights.valid, given)

    def _take(self, ctx):
        """What the unit takes at the edge."""
        ports = self.ports
        if ctx.get(ports.i_weights.valid) and ctx.get(ports.i_weights.ready):
            self.row_at += 1
        if self.offered and ctx.get(ports.i.ready):
            self.waiting.pop(0)
            self.offered = False

    def _answer_reads(self, ctx, cycle):
        """Grant requests, the operand's first in its bank; return what follows the edge."""
        operand, stationary = self.ports.read_operand, self.ports.read_stationary
        bank = self.program.config.code_bank_words
        ctx.set(operand.ready, self._goes())
        meets = ctx.get(operand.valid) and (
            ctx.get(operand.address) // bank == ctx.get(stationary.address) // bank
        )
        ctx.set(stationary.ready, self._goes() and not meets)
        replies = []
        for port in (operand, stationary):
            word = self.rng.integers(0, 4096, self.codes.shape[1])
            if ctx.get(port.valid) and ctx.get(port.ready):
                address = ctx.get(port.address)
                if address >= len(self.codes):
                    self.differences.append(f"cycle {cycle}: address {address}")
                word = self.codes[address % len(self.codes)]
                if port is operand:
                    self._check_read(address, cycle)
            replies.append((port.data, word.tolist()))
        scale = self.rng.integers(0, 40, 2)
        port = self.ports.read_scale
        if ctx.get(port.valid):
            scale = self.program.state.row_scales[ctx.get(port.bank), ctx.get(port.row)]
        return [*replies, (port.multiplier, int(scale[0])), (port.shift, int(scale[1]))]

    def _check_read(self, address, cycle):
        index = self.read_at
        self.read_at += 1
        place, need, unit = self.reads[index] if index < len(self.reads) else (-1, 0, Unit.NONE)
        if address != place:
            self.differences.append(f"cycle {cycle}: read {index} of {address}, not {place}")
        elif unit is not Unit.NONE and self.counts[unit] < need:
            self.differences.append(f"cycle {cycle}: read {index} at count {self.counts[unit]}")


class ValuesBench(Bench):
    """array_front and array_back: every value that leaves them, in order.

    All instructions read the memory of the start.
    """

    def __init__(self, program, *, seed=0, stall=0.0, front=ArrayFront, back=ArrayBack):
        super().__init__(program, seed=seed, stall=stall)
        keywords = parameters(program.config)
        self.front = front(**keywords)
        self.back = back(**keywords)
        self.values: list[int] = []
        self.wanted = expected_values(program)
        self.value_at = 0
        for name in ("i", "counts", "i_weights", "read_operand", "read_stationary", "busy"):
            setattr(self.ports, name, getattr(self.front, name))
        self.ports.read_scale = self.back.read_scale

    def _module(self):
        m = Module()
        m.submodules.front = self.front
        m.submodules.back = self.back
        wiring.connect(m, self.front.o, self.back.i)
        self._join_scale_file(m, self.front, self.back)
        return m

    def _drive_sink(self, ctx):
        ctx.set(self.back.o.ready, self._goes())

    def _sink(self, ctx, cycle):
        left = ctx.get(self.back.o.valid) and ctx.get(self.back.o.ready)
        self.values.append(left)
        if left:
            values, live, end = self.wanted[self.value_at]
            payload = ctx.get(self.back.o.payload)
            got = np.array(list(payload["values"]))
            if ((got != values) & live).any() or payload.end != end:
                self.differences.append(
                    f"cycle {cycle}: value {self.value_at}: {got} end {payload.end}, "
                    f"not {values} end {end}"
                )
            self.value_at += 1
        return []

    def _done(self):
        return self.value_at == len(self.wanted)
