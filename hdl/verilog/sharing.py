"""Modules that are equal become one: 256 processing elements are one module with 256 instances.

The identity of a module is the hash of its body in which each instance's type stands as the
identity of that type, so equality is found from the leaves upwards. A cell at the edge of an array
whose last output nobody reads is the same module as its neighbours.
"""

import hashlib
from collections.abc import Mapping

from hdl.verilog.rtlil import Module, Wire
from hdl.verilog.signals import Chunk

__all__ = ["share"]


def share(
    modules: Mapping[str, Module], top: str, base_names: Mapping[str, str]
) -> tuple[dict[str, Module], dict[str, str]]:
    """Return the distinct modules, children first, renamed to unique plain names.

    ``base_names`` gives for an RTLIL module name the wish for its Verilog name. Distinct modules
    with the same wish are told apart by the words of their instance, then by a number. The second
    result gives the new name for each RTLIL module name.
    """
    identity: dict[str, str] = {}
    distinct: dict[str, str] = {}  # identity -> first RTLIL name, children first
    _identify(top, modules, identity, distinct)

    names: dict[str, str] = {identity[top]: base_names[top]}
    taken = {base_names[top]}
    wishes: dict[str, list[str]] = {}
    for key, name in distinct.items():
        if name != top:
            wishes.setdefault(base_names[name], []).append(key)
    for wish, keys in wishes.items():
        for key in keys:
            candidate = wish if len(keys) == 1 else _told_apart(wish, distinct[key])
            unique, count = candidate, 1
            while unique in taken:
                count += 1
                unique = f"{candidate}_{count}"
            taken.add(unique)
            names[key] = unique

    outputs: dict[str, dict[str, int]] = {}
    for name, key in identity.items():
        wires = modules[name].wires.values()
        outputs.setdefault(key, {}).update({w.name: w.width for w in wires if w.port == "output"})
    result: dict[str, Module] = {}
    for key, name in distinct.items():
        module = modules[name]
        for port in outputs[key]:
            module.wires[port].port = "output"
        for cell in module.cells:
            if cell.is_instance:
                child = identity[cell.kind]
                cell.kind = "\\" + names[child]
                for port, width in outputs[child].items():
                    if port[1:] not in cell.ports:
                        wire = Wire(f"{cell.name}.{port[1:]}", width)
                        module.wires[wire.name] = wire
                        cell.ports[port[1:]] = (Chunk(wire.name, 0, width),)
        module.name = names[key]
        result[module.name] = module
    return result, {name: names[key] for name, key in identity.items()}


def _told_apart(wish: str, path: str) -> str:
    """``requantizer`` in ``top.edge_requantizer`` becomes ``requantizer_edge``."""
    for instance in reversed(path.lstrip("\\").split(".")[1:]):
        words = [word for word in instance.split("_") if not word.isdecimal()]
        new = [word for word in words if word not in wish.split("_")]
        if new:
            return "_".join([wish, *new])
    return wish


def _identify(
    name: str,
    modules: Mapping[str, Module],
    identity: dict[str, str],
    distinct: dict[str, str],
) -> str:
    if name in identity:
        return identity[name]
    module = modules[name]
    digest = hashlib.sha256()
    for cell in module.cells:
        kind = cell.kind
        if cell.is_instance:
            kind = _identify(kind, modules, identity, distinct)
        # A check's priority numbers the cells of the whole design: not a part of the module.
        parameters = {k: v for k, v in cell.parameters.items() if k != "PRIORITY"}
        ports = sorted(cell.ports.items())
        digest.update(repr((kind, cell.name, parameters, ports)).encode())
    # The order of the ports does not matter, nor whether the parent reads an output.
    wires = sorted(
        (w.name, w.width, w.signed, w.port == "input", w.init) for w in module.wires.values()
    )
    rest = (wires, module.memories, module.processes, module.connects)
    digest.update(repr(rest).encode())
    identity[name] = digest.hexdigest()
    distinct.setdefault(identity[name], name)
    return identity[name]
