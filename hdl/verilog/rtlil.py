"""The subset of RTLIL that Amaranth writes, as Python objects: modules, cells, processes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hdl.verilog.signals import Chunk, Signal, bits_of, concat, replaced

__all__ = [
    "Assign",
    "Cell",
    "Memory",
    "Module",
    "Process",
    "Switch",
    "Wire",
    "parse",
    "rename_wires",
    "substitute",
]


@dataclass
class Wire:
    """A named vector; ``port`` is ``input``, ``output`` or empty."""

    name: str
    width: int
    signed: bool = False
    port: str = ""
    init: str | None = None


@dataclass
class Memory:
    """``depth`` words of ``width`` bits."""

    name: str
    width: int
    depth: int
    no_rw_check: bool = False  # a read of an address that is written may give either value


@dataclass
class Cell:
    """An operator (``$add``), a register, a memory port, or an instance of a module."""

    kind: str
    name: str
    parameters: dict[str, int | str] = field(default_factory=dict)
    ports: dict[str, Signal] = field(default_factory=dict)

    @property
    def is_instance(self) -> bool:
        """Whether the cell is a module of the design."""
        return self.kind.startswith("\\")


@dataclass
class Assign:
    """``target = value`` inside a process."""

    target: Signal
    value: Signal


@dataclass
class Switch:
    """First case that matches ``select`` wins; a case without patterns always matches."""

    select: Signal
    cases: list[tuple[list[str], "list[Assign | Switch]"]] = field(default_factory=list)


@dataclass
class Process:
    """Drives one wire: assignments in order, the last one wins."""

    body: list[Assign | Switch] = field(default_factory=list)

    @property
    def target(self) -> str:
        """Name of the driven wire."""
        first = self.body[0]
        assert isinstance(first, Assign) and first.target[0].wire is not None
        return first.target[0].wire

    def simple_value(self) -> "Signal | None":
        """Return what the wire carries if no condition is involved."""
        bits: dict[int, Chunk] = {}
        for statement in self.body:
            if isinstance(statement, Switch):
                return None
            values = bits_of(statement.value)
            for target, value in zip(bits_of(statement.target), values, strict=True):
                bits[target.offset] = value
        return concat(*((bits[index],) for index in sorted(bits)))


@dataclass
class Module:
    """One module; all lists keep the order of the text."""

    name: str
    wires: dict[str, Wire] = field(default_factory=dict)
    memories: dict[str, Memory] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    connects: list[tuple[Signal, Signal]] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)  # RTLIL's name of a wire to ours


def substitute(module: Module, values: Mapping[str, Signal]) -> None:
    """Replace the wires ``values`` wherever the module reads them."""

    def visit(body: list[Assign | Switch]) -> None:
        for statement in body:
            if isinstance(statement, Assign):
                statement.value = replaced(statement.value, values)
            else:
                statement.select = replaced(statement.select, values)
                for _, inner in statement.cases:
                    visit(inner)

    for process in module.processes:
        visit(process.body)
    for cell in module.cells:
        cell.ports = {port: replaced(signal, values) for port, signal in cell.ports.items()}
    module.connects = [(left, replaced(right, values)) for left, right in module.connects]


def rename_wires(module: Module, names: Mapping[str, str]) -> None:
    """Give wires new names, where they are read and where they are driven."""
    values: dict[str, Signal] = {}
    wires: dict[str, Wire] = {}
    for name, wire in module.wires.items():
        wire.name = names.get(name, name)
        wires[wire.name] = wire
        if name in names:
            values[name] = (Chunk(wire.name, 0, wire.width),)
    module.wires = wires
    module.renamed.update(names)
    substitute(module, values)
    module.connects = [(replaced(left, values), right) for left, right in module.connects]

    def visit(body: list[Assign | Switch]) -> None:
        for statement in body:
            if isinstance(statement, Assign):
                statement.target = replaced(statement.target, values)
            else:
                for _, inner in statement.cases:
                    visit(inner)

    for process in module.processes:
        visit(process.body)


_TOKEN = re.compile(r"(?P<const>\d+'[01x-]*)|(?P<name>[\\$]\S+)|(?P<slice>\[\d+(?::\d+)?\])")


def _signal(text: str, module: Module) -> Signal:
    """Read a sigspec; ``{ a b }`` lists the most significant part first."""
    chunks: list[Chunk] = []
    for match in _TOKEN.finditer(text):
        if match["const"]:
            bits = match["const"].split("'")[1]
            chunks.append(Chunk(None, 0, len(bits), bits))
        elif match["name"]:
            chunks.append(Chunk(match["name"], 0, module.wires[match["name"]].width))
        else:
            high, _, low = match["slice"][1:-1].partition(":")
            first = int(low or high)
            chunks[-1] = Chunk(chunks[-1].wire, first, int(high) - first + 1)
    return tuple(chunk for chunk in reversed(chunks) if chunk.width)


def _parameter(text: str) -> int | str:
    if text.startswith('"'):
        return text[1:-1].replace("\\\\", "\\")
    if "'" in text:
        bits = text.split("'")[1]
        return int(bits, 2) if bits and set(bits) <= {"0", "1"} else bits
    return int(text)


class _Parser:
    """Line by line; Amaranth writes one statement on each."""

    def __init__(self, text: str) -> None:
        self.lines = iter(text.splitlines())
        self.modules: dict[str, Module] = {}

    def run(self) -> dict[str, Module]:
        for line in self.lines:
            words = line.split()
            if words and words[0] == "module":
                module = Module(words[1])
                self.modules[words[1]] = module
                self.module(module)
        return self.modules

    def module(self, module: Module) -> None:
        init: str | None = None
        no_rw_check = False
        for line in self.lines:
            words = line.split()
            if not words:
                continue
            match words[0]:
                case "end":
                    _drop_empty(module)
                    return
                case "attribute":
                    if words[1] == "\\init":
                        init = words[2].split("'")[1]
                    no_rw_check = no_rw_check or words[1] == "\\no_rw_check"
                case "wire":
                    wire = Wire(words[-1], int(words[2]), "signed" in words[3:-1], init=init)
                    wire.port = next((p for p in ("input", "output") if p in words[3:-1]), "")
                    module.wires[wire.name] = wire
                    init = None
                case "memory":
                    memory = Memory(words[-1], int(words[2]), int(words[4]), no_rw_check)
                    no_rw_check = False
                    module.memories[memory.name] = memory
                case "cell":
                    module.cells.append(self.cell(words[1], words[2], module))
                case "process":
                    module.processes.append(Process(self.body(module)[0]))
                case "connect":
                    left, right = _split(line.strip().removeprefix("connect "))
                    module.connects.append((_signal(left, module), _signal(right, module)))
                case word:
                    raise NotImplementedError(f"RTLIL statement {word!r}")

    def cell(self, kind: str, name: str, module: Module) -> Cell:
        cell = Cell(kind, name)
        for line in self.lines:
            words = line.split(maxsplit=2)
            match words[0]:
                case "end":
                    break
                case "parameter":
                    key, value = line.split("\\", 1)[1].split(" ", 1)
                    cell.parameters[key] = _parameter(value.strip())
                case "connect":
                    cell.ports[words[1][1:]] = _signal(words[2], module)
        return cell

    def body(self, module: Module) -> tuple[list[Assign | Switch], list[str]]:
        """Read statements up to ``end`` or ``case``; also return the words of that line."""
        body: list[Assign | Switch] = []
        for line in self.lines:
            text = line.strip()
            word, _, rest = text.partition(" ")
            if word in ("end", "case"):
                return body, [word, rest]
            if word == "assign":
                left, right = _split(rest)
                body.append(Assign(_signal(left, module), _signal(right, module)))
            elif word == "switch":
                switch = Switch(_signal(rest, module))
                _, stop = self.body(module)
                while stop[0] == "case":
                    patterns = [p.split("'")[1] for p in stop[1].split(", ") if p]
                    inner, stop = self.body(module)
                    switch.cases.append((patterns, inner))
                body.append(switch)
        raise ValueError("RTLIL ends inside a process")


def _drop_empty(module: Module) -> None:
    """Remove vectors of no bits: Verilog has none."""
    module.wires = {name: wire for name, wire in module.wires.items() if wire.width}
    module.connects = [(left, right) for left, right in module.connects if left]
    module.processes = [p for p in module.processes if _assigns_bits(p)]
    for cell in module.cells:
        if cell.is_instance:
            cell.ports = {port: signal for port, signal in cell.ports.items() if signal}
    module.cells = [c for c in module.cells if c.kind[0] != "$" or _drives_bits(c)]


def _assigns_bits(process: Process) -> bool:
    first = process.body[0]
    return isinstance(first, Assign) and bool(first.target)


def _drives_bits(cell: Cell) -> bool:
    return all(cell.ports[port] for port in ("Y", "Q") if port in cell.ports)


def _split(text: str) -> tuple[str, str]:
    """Split two sigspecs that stand side by side."""
    if text.startswith("{"):
        end = text.index("}") + 1
    else:
        match = re.match(r"\S+( \[\d+(:\d+)?\])?", text)
        assert match
        end = match.end()
    return text[:end], text[end:].strip()


def parse(text: str) -> dict[str, Module]:
    """Read Amaranth's RTLIL; modules in the order of the text, the top first."""
    return _Parser(text).run()
