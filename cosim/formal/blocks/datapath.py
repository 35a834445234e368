"""Datapath: the blocks joined lose no beat, make none and change no order.

Each block's own proof says what it does with a beat; here a beat is followed through the registers
of all blocks of a path, from port to port. The conv path is cut at its accumulator, where beats do
not answer one to one: ``front`` ends and ``back`` begins there, and ``accumulator.tiles`` lies
between them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from amaranth.hdl import Mux, Value
from amaranth.lib import data

from cosim.formal.flow import Flow, Stages
from cosim.formal.harness import Harness, Internals, every
from hdl.datapath import Datapath

__all__ = ["activation", "back", "edge", "front"]

SIZES: dict[str, Any] = {
    **{"rows": 1, "cols": 1, "depth": 2, "groups": 2, "resident_groups": 1, "steps": 1},
    **{"channel_tiles": 1},
}


@dataclass(frozen=True)
class _Part:
    """Registers of one block, first to last.

    ``step(markers, enters)``: the next markers; ``ready``: the block takes a beat in this cycle.
    ``facts``: what each register holds of the followed beat.
    """

    valid: Sequence[Any]
    ready: Any
    step: Callable[[Sequence[Any], Any], Sequence[Any]]
    facts: Sequence[Callable[[Any], Any]]
    two_entries: bool = False


def _rigid(
    valid: Sequence[Any], moves: Any, ready: Any, facts: Sequence[Callable[[Any], Any]]
) -> _Part:
    def step(markers: Sequence[Any], enters: Any) -> list[Any]:
        before = [enters, *markers[:-1]]
        return [Mux(moves, old, now) for old, now in zip(before, markers, strict=True)]

    return _Part(valid, ready, step, facts)


def _skid(inside: Internals, out_ready: Any, fact: Callable[[Any, Any], Any]) -> _Part:
    tail_valid, head_valid = inside["tail_valid"], inside["head_valid"]

    def step(markers: Sequence[Any], enters: Any) -> list[Any]:
        tail, head = markers
        moves = out_ready | ~head_valid
        return [
            Mux(moves, 0, tail | enters)[0],
            Mux(moves, Mux(tail_valid, tail, enters), head),
        ]

    facts = [lambda saved, e=inside[name]: fact(e, saved) for name in ("tail", "head")]
    return _Part([tail_valid, head_valid], ~tail_valid, step, facts, two_entries=True)


def _lookup(dut: Datapath, inside: Internals, path: str, fact: Callable[[Any, Any], Any]) -> _Part:
    """``fact(side, saved)``: the side bits are the beat's."""
    unit = dut.scale_file.lookups[path]
    part = inside.child(f"scale_file.lookup_{path}")
    front, passes, back = (part[name] for name in ("front_moves", "passes", "back_moves"))
    layouts = {"first": unit.i_layout, "checked": unit.i_layout, "rowed": unit.o_layout}
    views = [data.View(layout, part[name]) for name, layout in layouts.items()]

    def step(markers: Sequence[Any], enters: Any) -> list[Any]:
        first, checked, rowed, offered = markers
        return [
            Mux(front, enters, first),
            Mux(front, first, checked),
            Mux(back, checked & passes, rowed),
            Mux(back, rowed, offered),
        ]

    facts = [lambda saved, v=view: fact(v.side, saved) for view in [*views, unit.o.payload]]
    valid = [part[f"{name}_valid"] for name in layouts] + [unit.o.valid]
    return _Part(valid, unit.i.ready, step, facts)


def _follow(flow: Flow, parts: Sequence[_Part]) -> None:
    """Join ``parts``: a beat leaves one as it enters the next."""
    valid = [bit for part in parts for bit in part.valid]
    facts = [fact for part in parts for fact in part.facts]

    def step(markers: Any, marked: Any) -> list[Any]:
        result: list[Any] = []
        enters, at = marked, 0
        for part in parts:
            mine = [markers[s] for s in range(at, at + len(part.valid))]
            result += part.step(mine, enters & part.ready)
            enters, at = mine[-1], at + len(part.valid)
        return result

    flow.follow(Stages(valid, lambda s, saved: facts[s](saved), step))
    # a skid buffer's second entry is taken only behind its first
    for index, part in enumerate(parts):
        if part.two_entries:
            flow.h.check(f"tail_{index}", ~part.valid[0] | part.valid[1])


def _datapath() -> tuple[Harness, Datapath, Internals]:
    """The datapath with its products free: no claim here is about values."""
    h = Harness()
    dut = Datapath(**SIZES)
    inside = h.add("dut", dut)
    lanes = {
        "silu_quantizer": ("product", "v_product"),
        "edge_requantizer": ("product_next",),
        "requantizer": ("low_product", "high_product"),
    }
    h.cuts = [f"dut.{block}.lane_0.{wire}" for block, wires in lanes.items() for wire in wires]
    return h, dut, inside


def _equal(view: Any, saved: Any, names: Sequence[str]) -> Value:
    return every(Value.cast(view[name]) == Value.cast(saved[name]) for name in names)


def _skid_fact(dut: Datapath, path: str, fact: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    layout = dut.scale_file.lookups[path].o_layout
    return lambda entry, saved: fact(data.View(layout, entry).side, saved)


def _entrance(dut: Datapath, inside: Internals, path: str, layout: Any, ready: Any) -> list[_Part]:
    """Return lookup and skid buffer of a path, which carry the fields of ``layout``."""
    names = [field for field, _ in layout]

    def carried(side: Any, saved: Any) -> Value:
        return _equal(data.View(layout, Value.cast(side)), saved, names)

    skid = _skid(inside.child(f"{path}_skid"), ready, _skid_fact(dut, path, carried))
    return [_lookup(dut, inside, path, carried), skid]


def edge() -> Harness:
    """From ``i_edge`` to ``o_edge``: every beat leaves once, in order."""
    h, dut, inside = _datapath()
    o, block, layouts = dut.o_edge, dut.edge_requantizer, dut.layouts
    part = inside.child("edge_requantizer")

    def ended(stage: int) -> Callable[[Any], Any]:
        side = data.View(layouts.path_end, part[f"side_{stage + 1}"])
        return lambda saved: side.end == saved.end

    parts = _entrance(dut, inside, "edge", layouts.edge_side, block.i.ready)
    registers = _rigid(
        [part["valid"][s] for s in range(block.latency)],
        o.ready | ~o.valid,
        block.i.ready,
        [ended(s) for s in range(block.latency)],
    )
    flow = Flow(
        *(h, "beat", dut.i_edge, o),
        capacity=6 + block.latency,
        wait=None,
        expect=lambda saved: o.payload.end == saved.end,
        deep=False,
    )
    _follow(flow, [*parts, registers])
    return h


def activation() -> Harness:
    """From ``i_activation`` to the SiLU quantizer, whose own proof ends at ``o_activation``."""
    h, dut, inside = _datapath()
    block, layouts = dut.silu_quantizer, dut.layouts
    parts = _entrance(dut, inside, "activation", layouts.activation_side, block.i.ready)
    beat = block.i.payload

    def arrived(saved: Any) -> Value:
        end = data.View(layouts.path_end, beat.side).end
        return (end == saved.end) & _equal(beat, saved, ("u", "wide"))

    flow = Flow(
        *(h, "beat", dut.i_activation, block.i),
        capacity=6,
        wait=None,
        expect=arrived,
        deep=False,
    )
    _follow(flow, parts)
    for name in ("valid", "ready"):
        port, output = getattr(dut.o_activation, name), getattr(block.o, name)
        h.check(f"output_{name}", port == output)
    return h


def front() -> Harness:
    """From ``i_conv`` to the accumulator: every beat arrives once, in order, with its pixel."""
    h, dut, inside = _datapath()
    layouts, array, operand = dut.layouts, dut.mac_array, dut.operand
    passed = ("first", "last", "end", "pixel")

    def marked(side: Any, saved: Any) -> Value:
        return _equal(data.View(layouts.array_side, Value.cast(side)), saved, passed)

    def decoded(payload: Any, saved: Any) -> Value:
        side = data.View(layouts.operand_side, payload.side)
        return (side.tile_start == saved.tile_start) & marked(side.array, saved)

    def skidded(entry: Any, saved: Any) -> Value:
        return decoded(data.View(operand.o_layout, entry), saved)

    part = inside.child("mac_array")
    o = array.o
    parts = [
        *_entrance(dut, inside, "conv", layouts.code_side, operand.i.ready),
        _rigid(
            [operand.o.valid],
            operand.o.ready | ~operand.o.valid,
            operand.i.ready,
            [lambda saved: decoded(operand.o.payload, saved)],
        ),
        _skid(inside.child("operand_skid"), array.i.ready, skidded),
        _rigid(
            [part[f"valid_{s + 1}"] for s in range(array.latency)],
            o.ready | ~o.valid,
            array.i.ready,
            [partial(marked, part[f"side_{s + 1}"]) for s in range(array.latency)],
        ),
    ]
    flow = Flow(
        *(h, "beat", dut.i_conv, o),
        capacity=9 + array.latency,
        wait=None,
        expect=lambda saved: marked(o.payload.side, saved),
        deep=False,
    )
    _follow(flow, parts)
    return h


def back() -> Harness:
    """From the accumulator to ``o_conv``: every pixel leaves once, in order."""
    h, dut, inside = _datapath()
    layouts, block = dut.layouts, dut.requantizer
    i, o = dut.accumulator.o, dut.o_conv
    names = ("pixel", "end")
    part, scales = inside.child("requantizer"), inside.child("scale_file")

    def fetched(side: Any) -> Callable[[Any], Any]:
        view = data.View(layouts.acc_side, Value.cast(side))
        return lambda saved: _equal(view, saved, ("acc", *names))

    def valued(side: Any) -> Callable[[Any], Any]:
        view = data.View(layouts.value_side, side)
        return lambda saved: _equal(view, saved, names)

    read = dut.scale_file.o_read
    parts = [
        _rigid(
            [scales["read_valid"], read.valid],
            read.ready,
            dut.scale_file.i_read.ready,
            [fetched(scales["read_side"]), fetched(read.payload.side)],
        ),
        _rigid(
            [part["valid"][s] for s in range(block.latency)],
            o.ready | ~o.valid,
            block.i.ready,
            [valued(part[f"side_{s + 1}"]) for s in range(block.latency)],
        ),
    ]
    flow = Flow(
        *(h, "beat", i, o),
        capacity=2 + block.latency,
        wait=None,
        expect=lambda saved: _equal(o.payload, saved, names),
        deep=False,
    )
    _follow(flow, parts)
    return h
