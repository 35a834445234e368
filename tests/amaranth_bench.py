"""Level 1: a case on Amaranth's own simulator, every cycle compared.

Slow, but it needs no compiler; the same case runs under Verilator at level 2.
"""

import numpy as np
from amaranth.hdl import Shape, ShapeCastable
from amaranth.lib import data
from amaranth.sim import Simulator

from golden.cycles import Case

__all__ = ["pack", "run_case", "simulate"]


def simulate(component, testbench):
    """Run ``testbench`` (a coroutine function of the context) on Amaranth's own simulator."""
    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


def pack(layout, fields, beat):
    """Return one beat of ``fields`` (field -> (beats,) or (beats, count)) as an integer."""
    value = 0
    for name, field in layout:
        numbers = np.atleast_1d(fields[name][beat]) if field.width else np.zeros(0, int)
        count = field.shape.length if isinstance(field.shape, data.ArrayLayout) else 1
        assert field.width == 0 or len(numbers) == count, name
        width = field.width // count if count else 0
        for lane, number in enumerate(numbers):
            value |= (int(number) & ((1 << width) - 1)) << (field.offset + lane * width)
    return value


def _set(ctx, port, value):
    shape = port.shape()
    ctx.set(port, shape.from_bits(value) if isinstance(shape, ShapeCastable) else value)


def _bits(ctx, port):
    value = ctx.get(port)
    return value.as_bits() if hasattr(value, "as_bits") else int(value)


def run_case(component, case: Case) -> list[str]:
    """Return one line for every difference, at most ten; an empty list means equal."""
    trace = case.trace
    packed = {}
    for name in [*trace.inputs, *trace.outputs]:
        layout = getattr(component, name).payload.shape()
        beats = {**trace.inputs, **trace.outputs}[name].beat.max(initial=-1) + 1
        packed[name] = [pack(layout, case.payloads[name], beat) for beat in range(beats)]
    generator = np.random.Generator(np.random.PCG64(case.seed))
    differences: list[str] = []

    async def testbench(ctx):
        for cycle in range(trace.cycles):
            for name, stream in trace.inputs.items():
                port = getattr(component, name)
                beat = stream.beat[cycle]
                ctx.set(port.valid, int(stream.valid[cycle]))
                width = Shape.cast(port.payload.shape()).width
                garbage = int(generator.integers(1 << 60)) & ((1 << width) - 1)
                _set(ctx, port.payload, packed[name][beat] if beat >= 0 else garbage)
            for name, stream in trace.outputs.items():
                ctx.set(getattr(component, name).ready, int(stream.ready[cycle]))
            for name, values in trace.plain_in.items():
                _set(ctx, getattr(component, name), int(values[cycle]))
            for name, stream in trace.inputs.items():
                got = ctx.get(getattr(component, name).ready)
                compare(cycle, f"{name}.ready", int(stream.ready[cycle]), got)
            for name, stream in trace.outputs.items():
                port = getattr(component, name)
                compare(cycle, f"{name}.valid", int(stream.valid[cycle]), ctx.get(port.valid))
                if stream.valid[cycle]:
                    want = packed[name][stream.beat[cycle]]
                    compare(cycle, f"{name}.payload", want, _bits(ctx, port.payload))
            for name, values in trace.plain_out.items():
                compare(cycle, name, int(values[cycle]), _bits(ctx, getattr(component, name)))
            if len(differences) >= 10:
                return
            await ctx.tick()

    def compare(cycle, what, want, got):
        if want != got:
            differences.append(f"cycle {cycle}: {what} expected {want:#x}, got {got:#x}")

    simulate(component, testbench)
    return differences
