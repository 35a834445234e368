"""Give each signal that enters a module a port of its own.

Amaranth joins neighbouring nets into one nameless input (``port$0$2``); the signals they belong to
inside the module say where to cut it and what to call the pieces.
"""

import re
from collections.abc import Iterator

from hdl.verilog.rtlil import Module, substitute
from hdl.verilog.signals import Chunk, Signal, concat, part

__all__ = ["split_ports"]


def split_ports(modules: dict[str, Module]) -> None:
    """Change the modules, and the instances of them, in place."""
    cuts: dict[str, dict[str, list[tuple[str, int, int]]]] = {}
    for name, module in modules.items():
        found: dict[str, list[tuple[str, int, int]]] = {}
        for wire in list(module.wires.values()):
            if wire.port == "input" and re.fullmatch(r"\\port\$\d+\$\d+", wire.name):
                pieces = list(_pieces(module, wire.name))
                if pieces:
                    found[wire.name] = pieces
        if found:
            _cut(module, found)
            cuts[name] = found
    for module in modules.values():
        for cell in module.cells:
            for port, pieces in cuts.get(cell.kind, {}).items():
                signal = cell.ports.pop(port[1:])
                for piece, offset, width in pieces:
                    cell.ports[piece[1:]] = part(signal, offset, width)


def _pieces(module: Module, port: str) -> Iterator[tuple[str, int, int]]:
    """Yield (name, offset, width) that together are the port; nothing if names are missing."""
    by_offset: dict[int, tuple[str, int]] = {}
    for left, right in module.connects:
        alias = left[0].wire
        if alias and len(right) == 1 and right[0].wire == port and not module.wires[alias].port:
            found = by_offset.get(right[0].offset)
            if found is None or right[0].width > found[1]:
                by_offset[right[0].offset] = (alias, right[0].width)
    offset = 0
    pieces = []
    while offset < module.wires[port].width:
        if offset not in by_offset:
            return
        name, width = by_offset[offset]
        pieces.append((name, offset, width))
        offset += width
    if offset == module.wires[port].width:
        yield from pieces


def _cut(module: Module, cuts: dict[str, list[tuple[str, int, int]]]) -> None:
    values: dict[str, Signal] = {}
    order: dict[str, None] = {}
    for name in module.wires:
        order.update(dict.fromkeys([piece for piece, _, _ in cuts[name]] if name in cuts else []))
        if name not in cuts:
            order.setdefault(name)
    for port, pieces in cuts.items():
        values[port] = concat(*((Chunk(name, 0, width),) for name, _, width in pieces))
        for name, _, _ in pieces:
            module.wires[name].port = "input"
    names = {name for pieces in cuts.values() for name, _, _ in pieces}
    module.connects = [pair for pair in module.connects if pair[0][0].wire not in names]
    module.wires = {name: module.wires[name] for name in order if name not in cuts}

    substitute(module, values)
