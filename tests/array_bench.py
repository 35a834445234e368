"""The array's unit in the simulator, up to its values, with memories and partners around it."""

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from golden.accelerator.instruction import Unit
from golden.scale_tables import writes
from hdl.array_back import ArrayBack
from hdl.array_front import ArrayFront
from hdl.array_layouts import ArrayLayouts
from hdl.scale_file import ScaleFile
from tests.array_programs import COUNTED, UNITS, expected_reads, expected_values, set_rows

__all__ = ["ValuesBench", "instruction_value", "parameters"]


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


class ValuesBench:
    """Runs a program on array_front and array_back; ``differences`` stays empty if all is equal.

    ``stall``: how often each partner hesitates, 0..1.
    """

    def __init__(self, program, *, seed=0, stall=0.0, front=ArrayFront, back=ArrayBack):
        self.program = program
        self.rng = np.random.default_rng(seed)
        self.stall = stall
        self.differences: list[str] = []
        self.busy: list[int] = []
        self.values: list[int] = []
        keywords = parameters(program.config)
        self.front = front(**keywords)
        self.back = back(**keywords)
        layouts = ArrayLayouts(**keywords)
        self.scale_file = ScaleFile(
            groups=1,
            resident_groups=1,
            steps=1,
            channel_tiles=program.config.channel_tiles,
            lanes=program.config.size,
            conv_side=layouts.code_side.size,
            read_side=layouts.acc_side.size,
        )

    def _module(self):
        m = Module()
        m.submodules.front = front = self.front
        m.submodules.back = back = self.back
        m.submodules.scale_file = scales = self.scale_file
        wiring.connect(m, front.o_lookup, scales.i_conv)
        wiring.connect(m, scales.o_conv, front.i_lookup)
        wiring.connect(m, front.o, back.i)
        wiring.connect(m, back.o_constants, scales.i_read)
        wiring.connect(m, scales.o_read, back.i_constants)
        m.d.comb += [
            scales.release_conv.eq(back.release),
            scales.release_conv_bank.eq(back.release_bank),
        ]
        return m

    def run(self, limit=40000):
        """Return the cycles from the first instruction to the last value."""
        simulator = Simulator(self._module())
        simulator.add_clock(1e-6)
        simulator.add_testbench(self._testbench(limit))
        simulator.run()
        return self.cycles

    def _goes(self):
        return self.rng.random() >= self.stall

    def _testbench(self, limit):
        async def testbench(ctx):
            await self._load_tables(ctx)
            await self._run(ctx, limit)

        return testbench

    async def _load_tables(self, ctx):
        port = self.scale_file.i_write
        payload = writes(self.scale_file.config, [], self.program.sets).payload
        for beat in range(len(payload["table"])):
            ctx.set(port.payload, {name: int(values[beat]) for name, values in payload.items()})
            ctx.set(port.valid, 1)
            await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)
        await ctx.tick().repeat(4)

    async def _run(self, ctx, limit):
        front, back, state = self.front, self.back, self.program.state
        codes, scales = state.codes.copy(), state.row_scales.copy()
        instructions = list(self.program.instructions)
        rows = set_rows(self.program)
        wanted = expected_values(self.program)
        reads = [
            (place, need, Unit(i["step_unit"]))
            for i in instructions
            for place, need in expected_reads(i)
            if place is not None
        ]
        counts = dict.fromkeys(UNITS, 0)
        bank_words = self.program.config.code_bank_words
        weights_left, read_at, done = 0, 0, 0
        offered = False
        layout = front.layouts.instruction
        for cycle in range(limit):
            # inputs
            if instructions:
                if not offered and self._goes():
                    offered = True
                    ctx.set(front.i.payload, instruction_value(layout, instructions[0]))
                ctx.set(front.i.valid, offered)
            else:
                ctx.set(front.i.valid, 0)
            for unit in counts:
                if counts[unit] < COUNTED and (not self.stall or self.rng.random() < 0.02):
                    counts[unit] += 1 if self.stall else COUNTED
            ctx.set(front.counts, {UNITS[unit]: min(n, COUNTED) for unit, n in counts.items()})
            given = weights_left < len(rows) and self._goes()
            if given:
                ctx.set(front.i_weights.payload, {"weights": rows[weights_left].tolist()})
            ctx.set(front.i_weights.valid, given)
            ctx.set(back.o.ready, self._goes())
            # the scratchpad's ports: the operand's has priority in its bank
            operand, stationary = front.read_operand, front.read_stationary
            ctx.set(operand.ready, self._goes())
            meets = ctx.get(operand.valid) and (
                ctx.get(operand.address) // bank_words == ctx.get(stationary.address) // bank_words
            )
            ctx.set(stationary.ready, self._goes() and not meets)
            # what happens at the edge
            replies = {}
            for port in (operand, stationary):
                word = self.rng.integers(0, 4096, codes.shape[1])
                if ctx.get(port.valid) and ctx.get(port.ready):
                    address = ctx.get(port.address)
                    if address >= len(codes):
                        self.differences.append(f"cycle {cycle}: address {address}")
                    word = codes[address % len(codes)]
                    if port is operand:
                        self._check_read(read_at, reads, address, counts, cycle)
                        read_at += 1
                replies[port] = word.tolist()
            scale = [int(value) for value in self.rng.integers(0, 40, 2)]
            if ctx.get(back.read_scale.valid):
                bank, row = ctx.get(back.read_scale.bank), ctx.get(back.read_scale.row)
                scale = scales[bank, row].tolist()
            if given and ctx.get(front.i_weights.ready):
                weights_left += 1
            if offered and ctx.get(front.i.ready):
                instructions.pop(0)
                offered = False
            self.busy.append(ctx.get(front.busy))
            left = ctx.get(back.o.valid) and ctx.get(back.o.ready)
            self.values.append(left)
            if left:
                self._check_value(done, wanted, ctx.get(back.o.payload), cycle)
                done += 1
            if done == len(wanted) or len(self.differences) > 5:
                self.cycles = cycle + 1
                break
            await ctx.tick()
            ctx.set(operand.data, replies[operand])
            ctx.set(stationary.data, replies[stationary])
            ctx.set(back.read_scale.multiplier, scale[0])
            ctx.set(back.read_scale.shift, scale[1])
        else:
            self.differences.append(f"{done} of {len(wanted)} values after {limit} cycles")
        if not self.differences:
            assert not instructions
            assert (weights_left, read_at) == (len(rows), len(reads))

    def _check_read(self, index, reads, address, counts, cycle):
        place, need, unit = reads[index] if index < len(reads) else (-1, 0, Unit.NONE)
        if address != place:
            self.differences.append(f"cycle {cycle}: read {index} of {address}, not {place}")
        elif unit is not Unit.NONE and counts[unit] < need:
            self.differences.append(f"cycle {cycle}: read {index} at count {counts[unit]}")

    def _check_value(self, index, wanted, payload, cycle):
        values, live, end = wanted[index]
        got = np.array(list(payload["values"]))
        if ((got != values) & live).any() or payload.end != end:
            self.differences.append(
                f"cycle {cycle}: value {index}: {got} end {payload.end}, not {values} end {end}"
            )
