"""Plain Verilog names for the wires of a module: no escapes, no numbers where a word exists.

A wire without a name of its own takes, in this order: the name of a signal that equals it, the
instance and port that drive it, or what its driver computes (``sum_1``).
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from hdl.verilog.rtlil import Cell, Module, Process
from hdl.verilog.signals import Chunk
from hdl.verilog.simplify import driver_output

__all__ = ["Field", "Names", "name_wires", "plain"]

# IEEE 1800-2017, annex B; `large`, `medium` and `small` are strengths
_KEYWORD_TEXT = """
    accept_on alias always always_comb always_ff always_latch and assert assign assume automatic
    before begin bind bins binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle
    checker class clocking cmos config const constraint context continue cover covergroup
    coverpoint cross deassign default define defparam design disable dist do edge else end
    endcase endchecker endclass endclocking endconfig endfunction endgenerate endgroup
    endinterface endmodule endpackage endprimitive endprogram endproperty endsequence endspecify
    endtable endtask enum event eventually expect export extends extern final first_match for
    force foreach forever fork forkjoin function generate genvar global highz0 highz1 if iff
    ifnone ignore_bins illegal_bins implements implies import incdir include initial inout input
    inside instance int integer interconnect interface intersect join join_any join_none large
    let liblist library local localparam logic longint macromodule matches medium modport module
    nand negedge nettype new nexttime nmos nor noshowcancelled not notif0 notif1 null or output
    package packed parameter pmos posedge primitive priority process program property protected
    pull0 pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase
    randsequence rcmos real realtime ref reg reject_on release repeat restrict return rnmos
    rpmos rtran rtranif0 rtranif1 s_always s_eventually s_nexttime s_until s_until_with scalared
    sequence shortint shortreal showcancelled signed small soft solve specify specparam static
    string strong strong0 strong1 struct super supply0 supply1 sync_accept_on sync_reject_on
    table tagged task this throughout time timeprecision timeunit tran tranif0 tranif1 tri tri0
    tri1 triand trior trireg type typedef union unique unique0 unsigned until until_with untyped
    use uwire var vectored virtual void wait wait_order wand weak weak0 weak1 while wildcard
    wire with within wor xnor xor
"""
_KEYWORDS = frozenset(_KEYWORD_TEXT.split())

_BY_DRIVER = {
    "$add": "sum",
    "$sub": "difference",
    "$mul": "product",
    "$neg": "negated",
    "$mux": "choice",
    "$shl": "shifted",
    "$shr": "shifted",
    "$sshr": "shifted",
    "$shift": "selected",
    "$dff": "held",
    "$memrd_v2": "read",
    "$eq": "equal",
    "$ne": "differs",
    "$lt": "less",
    "$le": "at_most",
    "$gt": "greater",
    "$ge": "at_least",
    "$not": "inverted",
}


def plain(name: str) -> str:
    r"""``\i__payload.x[0]`` -> ``i__payload__x_0``."""
    text = name.removeprefix("\\").replace(".", "__").replace("[", "_").replace("]", "")
    text = re.sub(r"\W", "_", text)
    if text in _KEYWORDS or not text[:1].isalpha():
        text = f"{text}_" if text[:1].isalpha() else f"n{text}"
    return text


@dataclass(frozen=True)
class Field:
    """A named part of a wire: a member of a structure or an element of an array."""

    name: str
    offset: int
    width: int
    signed: bool


@dataclass(frozen=True)
class Names:
    """``wire``: RTLIL name to Verilog name; ``fields``: parts by RTLIL name; ``auto``: unnamed."""

    wire: dict[str, str]
    fields: dict[str, list[Field]]
    auto: frozenset[str]
    signed: frozenset[str]


class _Namer:
    def __init__(self, module: Module) -> None:
        self.module = module
        self.taken: set[str] = {"unused_bits"}
        self.wire: dict[str, str] = {}

    def unique(self, wish: str, *, numbered: bool = False) -> str:
        name, count = (f"{wish}_1" if numbered else wish), 1
        while name in self.taken:
            count += 1
            name = f"{wish}_{count}"
        self.taken.add(name)
        return name


class ChildPorts(Protocol):
    """``ports``: RTLIL name to Verilog name; ``outputs``: names without the backslash."""

    ports: dict[str, str]
    outputs: set[str]


def name_wires(module: Module, children: Mapping[str, ChildPorts]) -> Names:
    """Name every wire of ``module``; ``children`` are the module types it instantiates."""
    namer = _Namer(module)
    for name, wire in module.wires.items():
        if wire.port:
            namer.wire[name] = namer.unique(plain(name))
    for memory in module.memories:
        namer.wire[memory] = namer.unique(plain(memory))
    for cell in module.cells:
        if cell.is_instance:
            namer.wire[f"instance {cell.name}"] = namer.unique(plain(cell.name))

    whole, parts = _aliases(module)
    at_port = _instance_ports(module, children, namer.wire)
    at_memory = _memory_ports(module)
    drivers: dict[str, Cell | Process] = {process.target: process for process in module.processes}
    next_of: dict[str, str] = {}
    for cell in module.cells:
        output = None if cell.is_instance else driver_output(cell) if cell.ports else None
        if output and output[0].wire:
            drivers[output[0].wire] = cell
        if cell.kind == "$dff" and len(cell.ports["D"]) == 1 and cell.ports["D"][0].wire:
            next_of[cell.ports["D"][0].wire] = cell.ports["Q"][0].wire or ""

    auto: set[str] = set()
    signed = {name for name, wire in module.wires.items() if wire.signed}
    roots: dict[str, str] = {}
    own_names = [re.sub(r"\$\d+$", "", name) for name in module.wires if name[0] == "\\"]
    repeated = Counter(own_names)
    aliased = {left[0].wire for left, _ in module.connects}
    later: list[str] = []
    for name, wire in module.wires.items():
        roots[name] = name
        if wire.port or name in aliased:
            continue
        own = "" if name.startswith("$") else re.sub(r"\$\d+$", "", name)
        if not own and name in whole:
            alias = whole[name]
            roots[name] = alias
            own = re.sub(r"\$\d+$", "", alias)
            if module.wires[alias].signed:
                signed.add(name)
        driven_by, feeds = at_port.outputs.get(name), at_port.inputs.get(name, [])
        if name in at_memory and (not own or own.startswith("\\$signature")):
            namer.wire[name] = namer.unique(at_memory[name])
        elif driven_by:
            instance, port = driven_by
            borrowed = any(plain(own) == other for _, other in [driven_by, *feeds]) if own else True
            if borrowed:
                namer.wire[name] = namer.unique(f"{instance}__{port}")
            elif "$" in name[1:] or repeated[own] > 1:
                namer.wire[name] = namer.unique(f"{instance}__{plain(own)}")
            else:
                namer.wire[name] = namer.unique(plain(own))
        elif feeds and (not own or plain(own) == feeds[0][1]):
            only = bool(own) and len(feeds) > 1 and repeated[own] == 1
            namer.wire[name] = namer.unique(plain(own) if only else "__".join(feeds[0]))
        elif own:
            namer.wire[name] = namer.unique(plain(own))
        else:
            later.append(name)
    for name in later:
        auto.add(name)
        driver = drivers.get(name)
        if isinstance(driver, Process):
            register = namer.wire.get(next_of.get(name, ""), "")
            wish = f"next_{register}" if register else "chosen"
            namer.wire[name] = namer.unique(wish, numbered=not register)
        else:
            kind = driver.kind if driver else ""
            namer.wire[name] = namer.unique(_BY_DRIVER.get(kind, "bits"), numbered=True)

    fields = {
        name: [Field(namer.unique(plain(a)), o, w, s) for a, o, w, s in found]
        for name in namer.wire
        if (
            found := [
                p
                for p in parts.get(name, [])
                if p[0].startswith((roots[name] + ".", roots[name] + "["))
            ]
        )
    }
    return Names(namer.wire, fields, frozenset(auto), frozenset(signed))


def _aliases(module: Module) -> tuple[dict[str, str], dict[str, list[tuple[str, int, int, bool]]]]:
    """Return signals that equal a whole wire, and those that equal a part of one."""
    whole: dict[str, str] = {}
    parts: dict[str, list[tuple[str, int, int, bool]]] = {}
    for left, right in module.connects:
        alias = left[0].wire
        assert alias is not None
        if len(right) != 1 or right[0].wire is None or module.wires[alias].port:
            continue
        chunk: Chunk = right[0]
        base = module.wires[right[0].wire]
        if chunk.width == base.width:
            whole.setdefault(base.name, alias)
        if chunk.offset + chunk.width <= base.width:
            entry = (alias, chunk.offset, chunk.width, module.wires[alias].signed)
            parts.setdefault(base.name, []).append(entry)
    return whole, parts


def _memory_ports(module: Module) -> dict[str, str]:
    """For a wire that is a whole port of a memory: ``bank__read_data``."""
    found: dict[str, str] = {}
    for cell in module.cells:
        if cell.kind not in ("$memrd_v2", "$memwr_v2"):
            continue
        side = "read" if cell.kind == "$memrd_v2" else "write"
        for port, word in (("ADDR", "address"), ("EN", "enable"), ("DATA", "data")):
            signal = cell.ports[port]
            name = signal[0].wire if len({chunk.wire for chunk in signal}) == 1 else None
            if name and signal[0].width == module.wires[name].width:
                memory = plain(str(cell.parameters["MEMID"]))
                found.setdefault(name, f"{memory}__{side}_{word}")
    return found


@dataclass(frozen=True)
class _InstancePorts:
    """For a wire that is a whole port: the (instance, port) that drives it, those it feeds."""

    outputs: dict[str, tuple[str, str]]
    inputs: dict[str, list[tuple[str, str]]]


def _instance_ports(
    module: Module, children: Mapping[str, ChildPorts], names: Mapping[str, str]
) -> _InstancePorts:
    found = _InstancePorts({}, {})
    for cell in module.cells:
        if not cell.is_instance:
            continue
        child = children[cell.kind[1:]]
        for port, signal in cell.ports.items():
            if len(signal) == 1 and signal[0].wire:
                wire = module.wires[signal[0].wire]
                if not wire.port and signal[0].width == wire.width:
                    pin = (names[f"instance {cell.name}"], child.ports["\\" + port])
                    if port in child.outputs:
                        found.outputs[wire.name] = pin
                    else:
                        found.inputs.setdefault(wire.name, []).append(pin)
    return found
