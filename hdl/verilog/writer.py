"""One module of RTLIL as one Verilog-2001 module.

Order of the text: ports, wires and registers, assignments, instances, memories, registers.
"""

from collections.abc import Mapping, Sequence

from hdl.verilog.context import Context
from hdl.verilog.expressions import span
from hdl.verilog.memories import memories
from hdl.verilog.names import Names, name_wires
from hdl.verilog.processes import combinational
from hdl.verilog.registers import checks, clocked
from hdl.verilog.rtlil import Cell, Module
from hdl.verilog.signals import width_of
from hdl.verilog.statements import wrapped

__all__ = ["WrittenModule", "write_module"]


class WrittenModule:
    """Verilog ``text``; ``ports`` and ``all_names``: RTLIL name to Verilog name."""

    def __init__(self, text: str, module: Module, names: Names) -> None:
        self.text = text
        self.names = names
        renamed = {old: names.wire[new] for old, new in module.renamed.items() if new in names.wire}
        self.all_names = {**names.wire, **renamed}
        order = {name: index for index, name in enumerate(("\\clk", "\\rst"))}
        ports = sorted(
            (name for name, wire in module.wires.items() if wire.port),
            key=lambda name: order.get(name, 2),
        )
        self.ports = {name: names.wire[name] for name in ports}
        self.outputs = {
            name.removeprefix("\\") for name, wire in module.wires.items() if wire.port == "output"
        }


def write_module(
    module: Module,
    children: Mapping[str, WrittenModule],
    header: Sequence[str] = (),
    port_order: Sequence[str] = (),
) -> WrittenModule:
    """Print ``module``; ``children`` are the modules it instantiates, already printed."""
    names = name_wires(module, children)
    text = _Writer(Context(module, names, children)).run(header, port_order)
    return WrittenModule(text, module, names)


class _Writer:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.module = context.module
        self.names = context.names
        self.expressions = context.expressions
        self.leftover: list[str] = []  # bits of a shift that its reader does not want

    def run(self, header: Sequence[str], port_order: Sequence[str]) -> str:
        # Registers first: they take the next values that only they read.
        registers = clocked(self.context)
        conditional = combinational(self.context)
        instances = self._instances()
        arrays = memories(self.context)
        assertions = checks(self.context)
        assigns: list[str] = []
        for cell in self.module.cells:
            if "Y" in cell.ports and not cell.is_instance:
                assigns += self._assign(cell)
        for cell in self.context.take_unprinted():
            assigns += self._assign(cell)
        fields = self._fields()
        unused = self._unused()  # last: by now everything is read
        parts = [self._declarations(), fields, assigns, conditional, instances, arrays]
        lines = [*header, "", "`default_nettype none", "", *self._ports(port_order)]
        for part in [*parts, registers, assertions, unused]:
            if part:
                lines += [*part, ""]
        return "\n".join([*lines, "endmodule", "", "`default_nettype wire", ""])

    def _assign(self, cell: Cell) -> list[str]:
        wire = cell.ports["Y"][0].wire or ""
        if self.context.is_hidden(wire):
            return []
        name = self.names.wire[wire]
        text = self.expressions.operator(cell)
        extra = width_of(cell.ports["A"]) - width_of(cell.ports["Y"])
        if cell.kind in ("$shr", "$sshr", "$shift") and extra > 0:
            whole = width_of(cell.ports["A"])
            self.leftover.append(f"{name}_whole[{whole - 1}:{whole - extra}]")
            width = whole - extra
            return [
                *wrapped(f"wire [{whole - 1}:0] {name}_whole = {text};", 2),
                f"  assign {name} = {name}_whole{span(0, width, whole)};",
            ]
        return wrapped(f"assign {name} = {text};", 2)

    def _ports(self, port_order: Sequence[str]) -> list[str]:
        order = {name: index for index, name in enumerate(["\\clk", "\\rst", *port_order])}
        ports = [wire for wire in self.module.wires.values() if wire.port]
        ports.sort(key=lambda wire: order.get(wire.name, len(order)))
        declarations = []
        for wire in ports:
            kind = "reg " if wire.name in self.context.registers else "wire"
            vector = self._vector(wire.name)
            declarations.append(f"  {wire.port:6} {kind} {vector}{self.names.wire[wire.name]}")
        return [f"module {self.module.name} (", ",\n".join(declarations), ");", ""]

    def _vector(self, name: str) -> str:
        wire = self.module.wires[name]
        sign = "signed " if name in self.names.signed and wire.width > 1 else ""
        return f"{sign}[{wire.width - 1}:0] " if wire.width > 1 else ""

    def _declarations(self) -> list[str]:
        driven = {s[0].wire for c in self.module.cells for s in c.ports.values() if s}
        driven |= set(self.context.processes)
        lines = []
        for name, wire in self.module.wires.items():
            if wire.port or name not in driven or name not in self.names.wire:
                continue
            if self.context.is_hidden(name):
                continue
            kind = "reg" if name in self.context.registers else "wire"
            lines.append(f"  {kind} {self._vector(name)}{self.names.wire[name]};")
        for memory in self.module.memories.values():
            vector = f"[{memory.width - 1}:0] " if memory.width > 1 else ""
            free = "(* no_rw_check *) " if memory.no_rw_check else ""
            name = self.names.wire[memory.name]
            lines.append(f"  {free}reg {vector}{name} [0:{memory.depth - 1}];")
        return lines

    def _fields(self) -> list[str]:
        lines = []
        for wire, fields in self.names.fields.items():
            for index, field in enumerate(fields):
                if (wire, index) not in self.expressions.field_read:
                    continue
                whole = self.module.wires[wire].width
                source = self.names.wire[wire] + span(field.offset, field.width, whole)
                sign = "signed " if field.signed and field.width > 1 else ""
                vector = f"{sign}[{field.width - 1}:0] " if field.width > 1 else ""
                lines.append(f"  wire {vector}{field.name} = {source};")
        return lines

    def _instances(self) -> list[str]:
        lines: list[str] = []
        for cell in self.module.cells:
            if not cell.is_instance:
                continue
            child = self.context.children[cell.kind[1:]]
            lines.append(f"  {cell.kind[1:]} {self.names.wire[f'instance {cell.name}']} (")
            pins = []
            order = {port[1:]: index for index, port in enumerate(child.ports)}
            for port, signal in sorted(cell.ports.items(), key=lambda item: order[item[0]]):
                if port in child.outputs:
                    text = self.context.target(signal)
                else:
                    text = self.expressions.text(signal)
                pins.append(f".{child.ports[chr(92) + port]}({text})")
            for index, pin in enumerate(pins):
                lines += wrapped(pin + ("," if index + 1 < len(pins) else ""), 4)
            lines += ["  );"]
        return lines

    def _unused(self) -> list[str]:
        """Name the bits that nothing reads: lint then knows that they are meant."""
        pieces: list[str] = []
        driven = {s[0].wire for c in self.module.cells for s in c.ports.values() if s}
        driven |= set(self.context.processes)
        for name, wire in self.module.wires.items():
            hidden = self.context.is_hidden(name) or name not in self.names.wire
            if wire.port == "output" or hidden:
                continue
            if wire.port or name in driven:
                mask = self.expressions.read.get(name, 0)
                pieces += _gaps(self.names.wire[name], wire.width, mask)
        for (wire_name, index), mask in sorted(self.expressions.field_read.items()):
            field = self.names.fields[wire_name][index]
            pieces += _gaps(field.name, field.width, mask)
        pieces += self.leftover
        if not pieces:
            return []
        return wrapped(f"wire unused_bits = &{{1'b0, {', '.join(pieces)}}};", 2)


def _gaps(name: str, width: int, read: int) -> list[str]:
    """Slices of ``name`` whose bits are not in the mask ``read``."""
    pieces: list[str] = []
    low = 0
    while low < width:
        high = low
        while high < width and not read >> high & 1:
            high += 1
        if high > low:
            pieces.append(name + span(low, high - low, width))
        low = high + 1
    return pieces
