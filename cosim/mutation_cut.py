"""Registers, products and memories of a netlist cut open, for proofs about its combinational part.

``cut`` turns what such a cell gives into an input and what it takes into an output. ``joined`` is
the Verilog round two such netlists, ``gold`` and ``gate``: the registers go on as gold says,
products and read data are anything, and both copies see the same. Its outputs say where gate
differs:

- ``next_state``: in what the registers hold next, in a factor, in an address or a write that counts
- ``lenient``: that, or in an output (a payload counts while it is valid)
- ``strict``: an output, a factor or a write; or anything that a register takes, used or not. A
  stall hides what a register would take, so this follows from itself where ``lenient`` does not
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cosim.manifest import Manifest

__all__ = ["Cut", "cut", "joined", "payload_shown"]

COPIES = ("gold", "gate")
_FREE_NUMBERS = 100_000  # of ports, above those of the netlist
_REGISTERS = {
    "$dff": "{d}",
    "$dffe": "{en} ? {d} : {q}",
    "$sdff": "{srst} ? {value} : {d}",
    "$sdffe": "{srst} ? {value} : {en} ? {d} : {q}",
    "$sdffce": "{en} ? ({srst} ? {value} : {d}) : {q}",
}
_GIVES = {"$mul": "Y", "$mem_v2": "RD_DATA"}
_TAKES = {"$mul": ("A", "B"), "$mem_v2": ("RD_ADDR", "WR_EN", "WR_ADDR", "WR_DATA")}
_CELL = re.compile(
    r"(?:^  attribute [^\n]*\n)*^  cell (\$(?:s?dffc?e?|mul|mem_v2)) (\S+)\n(.*?)^  end\n",
    re.M | re.S,
)


@dataclass(frozen=True)
class Cut:
    """One cell. ``parameters``: decimal or binary text; ``ports``: RTLIL of what is connected."""

    number: int
    kind: str
    name: str
    parameters: Mapping[str, str]
    ports: Mapping[str, str]

    @property
    def is_register(self) -> bool:
        """Whether it holds a state."""
        return self.kind in _REGISTERS

    @property
    def gives(self) -> str:
        """The port that becomes an input."""
        return _GIVES.get(self.kind, "Q")

    @property
    def takes(self) -> list[str]:
        """The ports that become outputs."""
        return [name for name in _TAKES.get(self.kind, ("D", "EN", "SRST")) if name in self.ports]

    def value(self, name: str) -> int:
        """A number among the parameters."""
        return int(self.parameters[name])

    def width(self, port: str) -> int:
        """Bits of ``port``."""
        if port in ("EN", "SRST"):
            return 1
        if self.kind == "$mul":
            return self.value(f"{port}_WIDTH")
        if self.is_register:
            return self.value("WIDTH")
        ports = self.value("RD_PORTS" if port.startswith("RD") else "WR_PORTS")
        return ports * self.value("ABITS" if port.endswith("ADDR") else "WIDTH")

    def net(self, port: str) -> str:
        """Name of the port that stands in its place."""
        return f"cut_{self.number}_{port}"


def _cell(number: int, kind: str, name: str, body: str) -> Cut:
    parameters = re.findall(r"^    parameter (?:signed )?\\(\S+) (?:\d+')?([01]+|\d+)$", body, re.M)
    ports = re.findall(r"^    connect \\(\S+) (.*)$", body, re.M)
    return Cut(number, kind, name, dict(parameters), dict(ports))


def cut(rtlil: str, like: Sequence[Cut] = ()) -> tuple[str, list[Cut]]:
    """Return the one module ``rtlil`` with its cells cut open, and these cells.

    ``like``: cells of another version of the netlist, whose numbers those of the same name get.
    """
    numbers = {found.name: found.number for found in like}
    cuts: list[Cut] = []

    def opened(match: re.Match[str]) -> str:
        found = _cell(numbers.get(match[2], len(cuts)), match[1], match[2], match[3])
        cuts.append(found)
        lines = []
        for place, port in enumerate((found.gives, *found.takes)):
            net, width = found.net(port), found.width(port)
            direction = "output" if place else "input"
            number = _FREE_NUMBERS + 8 * found.number + place
            lines.append(f"  wire width {width} {direction} {number} \\{net}\n")
            ends = (f"\\{net}", found.ports[port]) if place else (found.ports[port], f"\\{net}")
            lines.append(f"  connect {ends[0]} {ends[1]}\n")
        return "".join(lines)

    return _CELL.sub(opened, rtlil), cuts


def _next(found: Cut, copy: str) -> str:
    """Verilog of what register ``found`` holds next, as ``copy`` says."""
    nets = {port.lower(): f"{copy}_{found.net(port)}" for port in found.takes}
    for port in ("en", "srst"):
        if found.parameters.get(f"{port.upper()}_POLARITY", "1") == "0":
            nets[port] = f"!{nets[port]}"
    value = f"{found.width('D')}'b{found.parameters.get('SRST_VALUE', '0')}"
    return "(" + _REGISTERS[found.kind].format(**nets, value=value, q=found.net("Q")) + ")"


def _differ(found: Cut, ports: Sequence[str]) -> str:
    return " || ".join(f"gold_{found.net(p)} != gate_{found.net(p)}" for p in ports) or "1'b0"


def _register_strict(found: Cut) -> str:
    """Verilog: whether enable or reset differ, or the data of a register that is not reset."""
    data = _differ(found, ["D"])
    if "SRST" in found.takes:
        reset = f"gold_{found.net('SRST')}"
        low = found.parameters.get("SRST_POLARITY", "1") == "0"
        data = f"({reset if low else '!' + reset} && {data})"
    return f"{_differ(found, [port for port in found.takes if port != 'D'])} || {data}"


def _effective(found: Cut, copy: str, port: int) -> str:
    """Verilog: bits that write port ``port`` of a memory writes, later ports not in its way."""
    width, ports = found.value("WIDTH"), found.value("WR_PORTS")
    priority = found.parameters["WR_PRIORITY_MASK"].zfill(ports * ports)[::-1]
    term = f"{copy}_{found.net('WR_EN')}[{port * width} +: {width}]"
    for other in range(ports):
        if priority[other * ports + port] == "1":
            here, there = (_address(found, copy, which) for which in (port, other))
            enable = f"{copy}_{found.net('WR_EN')}[{other * width} +: {width}]"
            term = f"({term} & ~({enable} & {{{width}{{{here} == {there}}}}}))"
    return term


def _address(found: Cut, copy: str, port: int) -> str:
    bits = found.value("ABITS")
    return f"{copy}_{found.net('WR_ADDR')}[{port * bits} +: {bits}]"


def _memory(found: Cut, lines: list[str]) -> str:
    """Verilog: whether an address that is read differs, or what is written."""
    width = found.value("WIDTH")
    terms = [_differ(found, ["RD_ADDR"])]
    for port in range(found.value("WR_PORTS")):
        for copy in COPIES:
            net = f"{copy}_{found.net('writes')}_{port}"
            lines.append(f"wire [{width - 1}:0] {net} = {_effective(found, copy, port)};")
        gold, gate = (f"{copy}_{found.net('writes')}_{port}" for copy in COPIES)
        data = [f"{copy}_{found.net('WR_DATA')}[{port * width} +: {width}]" for copy in COPIES]
        address = [_address(found, copy, port) for copy in COPIES]
        terms += [
            f"{gold} != {gate}",
            f"(|{gold} && {address[0]} != {address[1]})",
            f"(|({gold} & ({data[0]} ^ {data[1]})))",
        ]
    return " || ".join(terms)


def payload_shown(manifest: Manifest) -> Iterator[tuple[str, int, bool, str | None]]:
    """Yield net, width, whether it is an input, and the valid that an output's payload needs."""
    for port in manifest.ports:
        for net in port.nets:
            width = 1 if net in (port.valid, port.ready) else port.width
            driven = (port.direction == "in") != (net == port.ready)
            hidden = port.kind == "stream" and port.direction == "out" and net == port.payload
            yield net, width, driven, port.valid if hidden else None


def joined(manifest: Manifest, cuts: Sequence[Cut]) -> str:
    """Verilog of module ``top``, see above. Inputs: those of the block, products, read data."""
    inputs, lines = ["input clk", "input rst"], []
    shared, own = ["clk", "rst"], []
    seen, held, taken = [], [], []
    for net, width, driven, valid in payload_shown(manifest):
        if driven:
            inputs.append(f"input [{width - 1}:0] {net}")
            shared.append(net)
        else:
            own.append((net, width))
            shown = f"gold_{valid} && " if valid else ""
            seen.append(f"{shown}gold_{net} != gate_{net}")
    for found in cuts:
        own += [(found.net(port), found.width(port)) for port in found.takes]
        given = f"[{found.width(found.gives) - 1}:0] {found.net(found.gives)}"
        shared.append(found.net(found.gives))
        if found.is_register:
            lines.append(f"reg {given};")
            lines.append(f"always @(posedge clk) {found.net('Q')} <= {_next(found, 'gold')};")
            held.append(f"{_next(found, 'gold')} != {_next(found, 'gate')}")
            taken.append(_register_strict(found))
        else:
            inputs.append(f"input {given}")
            term = _differ(found, found.takes) if found.kind == "$mul" else _memory(found, lines)
            held.append(term)
            taken.append(term)
    wires = [f"wire [{width - 1}:0] {copy}_{net};" for net, width in own for copy in COPIES]
    ends = [f"output {name}" for name in ("next_state", "lenient", "strict")]
    text = [f"module top({', '.join([*inputs, *ends])});", *wires, *lines]
    for copy in COPIES:
        pins = [f".{net}({net})" for net in shared]
        pins += [f".{net}({copy}_{net})" for net, _ in own]
        text.append(f"{copy} {copy}_copy({', '.join(pins)});")
    goals = {"next_state": held, "lenient": [*seen, *held], "strict": [*seen, *taken]}
    for name, terms in goals.items():
        # one wire a term: a sum of a thousand terms is too deep for the parser
        text.append(f"wire [{max(0, len(terms) - 1)}:0] {name}_at;")
        text += [f"assign {name}_at[{place}] = {term};" for place, term in enumerate(terms)]
        text.append(f"assign {name} = |{name}_at;")
    return "\n".join([*text, "endmodule", ""])
