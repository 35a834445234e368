"""Give each signal that enters a module a port of its own.

Amaranth joins neighbouring nets into one nameless input (``port$0$2``); the signals they belong to
inside the module say where to cut it and what to call the pieces.
"""

import re
from collections.abc import Iterator

from hdl.verilog.rtlil import Module, rename_wires, substitute
from hdl.verilog.signals import Chunk, Signal, concat, part, width_of

__all__ = ["name_ports", "split_ports"]

_NAMELESS = re.compile(r"\\port\$\d+\$\d+")


def split_ports(modules: dict[str, Module]) -> None:
    """Change the modules, and the instances of them, in place."""
    cuts: dict[str, dict[str, list[tuple[str, int, int]]]] = {}
    for name, module in modules.items():
        found: dict[str, list[tuple[str, int, int]]] = {}
        for wire in list(module.wires.values()):
            if wire.port == "input" and _NAMELESS.fullmatch(wire.name):
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


def name_ports(modules: dict[str, Module]) -> None:
    """Name a port without a name after the signal that it is a part of: ``total[3:0]``."""
    for type_name, module in modules.items():
        names: dict[str, str] = {}
        for port, chunk in _nameless(module).items():
            new = _name_of(module, chunk, port)
            if new and new not in module.wires and new not in names.values():
                names[port] = new
        if names:
            rename_wires(module, names)
            for parent in modules.values():
                for cell in parent.cells:
                    if cell.kind == type_name:
                        ports = cell.ports.items()
                        cell.ports = {names.get(f"\\{p}", f"\\{p}")[1:]: s for p, s in ports}


def _nameless(module: Module) -> dict[str, Chunk]:
    """For each port without a name: what it carries."""
    found = {
        name: Chunk(name, 0, wire.width)
        for name, wire in module.wires.items()
        if wire.port and _NAMELESS.fullmatch(name)
    }
    for left, right in module.connects:
        if left[0].wire in found and len(right) == 1:
            found[left[0].wire] = right[0]
    return found


def _name_of(module: Module, chunk: Chunk, port: str) -> str | None:
    best: tuple[int, str] | None = None
    for left, right in module.connects:
        alias, offset = left[0].wire or "", 0
        if alias == port or _NAMELESS.fullmatch(alias):
            continue
        for part_of in right:
            low = offset + chunk.offset - part_of.offset
            inside = part_of.wire == chunk.wire and part_of.offset <= chunk.offset
            if inside and chunk.offset + chunk.width <= part_of.offset + part_of.width:
                width = width_of(right)
                high = low + chunk.width - 1
                place = f"[{high}:{low}]" if chunk.width > 1 else f"[{low}]"
                name = f"{alias}{place}" if width > chunk.width else f"{alias}$out"
                if best is None or width < best[0]:
                    best = (width, name)
            offset += part_of.width
    return best[1] if best else None


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
