"""One module of RTLIL as one Verilog-2001 module.

Order of the text: ports, wires and registers, assignments, instances, memories, registers.
"""

from collections.abc import Mapping, Sequence

from hdl.verilog.expressions import ANYWHERE, RIGHT_SIDE, Expressions, literal, span
from hdl.verilog.names import Names, name_wires
from hdl.verilog.rtlil import (
    Assign,
    Cell,
    Module,
    Signal,
    Switch,
    bits_of,
    part,
    width_of,
)
from hdl.verilog.statements import Block, Case, If, Line, lines_of, merge, wrapped

__all__ = ["WrittenModule", "write_module"]

_INLINE_USES = 8
_INLINE_LENGTH = 40


class WrittenModule:
    """Verilog ``text`` of a module, its ``ports`` (RTLIL name to Verilog name) and ``names``."""

    def __init__(self, text: str, module: Module, names: Names) -> None:
        self.text = text
        self.names = names
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
    text = _Writer(module, names, children).run(header, port_order)
    return WrittenModule(text, module, names)


class _Writer:
    def __init__(
        self, module: Module, names: Names, children: Mapping[str, WrittenModule]
    ) -> None:
        self.module = module
        self.names = names
        self.children = children
        self.expressions = Expressions(module, names)
        self.processes = {process.target: process for process in module.processes}
        self.reads = self._count_reads()
        self.registers: set[str] = set()
        self.extra: list[str] = []
        self._choose_inline()

    # -- what is read how often ------------------------------------------------------------

    def _signals_read(self) -> list[Signal]:
        signals: list[Signal] = []
        for cell in self.module.cells:
            outputs = self.children[cell.kind[1:]].outputs if cell.is_instance else {"Y", "Q"}
            if cell.kind == "$memrd_v2":
                outputs = {"DATA"}
            signals += [s for port, s in cell.ports.items() if port not in outputs]

        def visit(body: Sequence[Assign | Switch]) -> None:
            for statement in body:
                if isinstance(statement, Assign):
                    signals.append(statement.value)
                else:
                    signals.append(statement.select)
                    for _, inner in statement.cases:
                        visit(inner)

        for process in self.module.processes:
            visit(process.body)
        signals += [right for left, right in self.module.connects if self._is_output(left)]
        return signals

    def _is_output(self, signal: Signal) -> bool:
        return self.module.wires[signal[0].wire or ""].port == "output"

    def _count_reads(self) -> dict[str, int]:
        """Count whole reads; a wire that is read in part counts as read too often."""
        reads: dict[str, int] = {}
        for signal in self._signals_read():
            for chunk in signal:
                if chunk.wire is not None:
                    whole = chunk.width == self.module.wires[chunk.wire].width
                    reads[chunk.wire] = reads.get(chunk.wire, 0) + (1 if whole else 1000)
        return reads

    def _choose_inline(self) -> None:
        """Expressions without a name of their own, read once or short, are printed in place."""
        for cell in self.module.cells:
            if cell.kind not in ANYWHERE or cell.ports["Y"][0].wire not in self.names.auto:
                continue
            name = cell.ports["Y"][0].wire
            assert name is not None
            reads = self.reads.get(name, 0)
            if reads > _INLINE_USES:
                continue
            inputs = [s for port, s in cell.ports.items() if port != "Y"]
            length = sum(self._length(signal) for signal in inputs)
            if length <= _INLINE_LENGTH or (reads == 1 and length <= 2 * _INLINE_LENGTH):
                self.expressions.inline[name] = cell

    def _length(self, signal: Signal) -> int:
        total = 0
        for chunk in signal:
            if chunk.wire is None:
                total += 4
            elif chunk.wire in self.expressions.inline:
                ports = self.expressions.inline[chunk.wire].ports
                total += 5 + sum(self._length(s) for port, s in ports.items() if port != "Y")
            else:
                total += len(self.names.wire[chunk.wire]) + 4
        return total

    # -- statements ------------------------------------------------------------------------

    def _right_side(self, signal: Signal) -> str:
        """Print the right side of an assignment; a sum that only this reads stands in place."""
        if len(signal) == 1 and signal[0].wire in self.in_place:
            cell = self.in_place[signal[0].wire or ""]
            self.printed.add(signal[0].wire or "")
            return self.expressions.operator(cell)
        return self.expressions.text(signal)

    def _target(self, signal: Signal, wire: str | None = None) -> str:
        """Print a left side; ``wire`` stands for the process's own wire if given."""
        pieces = []
        for chunk in reversed(signal):
            name = wire or chunk.wire
            assert name is not None
            whole = self.module.wires[name].width
            pieces.append(self.names.wire[name] + span(chunk.offset, chunk.width, whole))
        return pieces[0] if len(pieces) == 1 else "{" + ", ".join(pieces) + "}"

    def _block(self, body: Sequence[Assign | Switch], register: str | None) -> Block:
        operator = "<=" if register else "="
        block: Block = []
        for statement in body:
            if isinstance(statement, Assign):
                target = self._target(statement.target, register)
                block.append(Line(f"{target} {operator} {self._right_side(statement.value)};"))
            elif not statement.select:
                for _, inner in statement.cases:
                    block += self._block(inner, register)
            else:
                block += self._switch(statement, register)
        return block

    def _switch(self, switch: Switch, register: str | None) -> Block:
        branches = [
            (patterns, self._block(inner, register)) for patterns, inner in switch.cases
        ]
        while branches and not branches[-1][1]:
            branches.pop()
        if not branches:
            return []
        if not branches[0][0]:
            return branches[0][1]
        flat = [pattern for patterns, _ in branches for pattern in patterns]
        is_chain = all(len(patterns) <= 1 for patterns, _ in branches) and all(
            len(pattern) - pattern.count("-") == 1 for pattern in flat
        )
        if is_chain or _overlap(flat) or len(flat) == 1:
            chain: list[tuple[str, Block]] = []
            for patterns, block in branches:
                terms = [self.expressions.pattern(switch.select, p) for p in patterns]
                terms = [f"({t})" if len(terms) > 1 and " " in t else t for t in terms]
                chain.append((" | ".join(terms), block))
            if {"0", "1"} == set(flat) and len(flat) == 2:
                chain[1] = ("", chain[1][1])
            return [If(chain)]
        labels = [
            (
                ", ".join(literal(p) if "-" not in p else f"{len(p)}'b{p.replace('-', '?')}"
                          for p in patterns),
                block,
            )
            for patterns, block in branches
        ]
        if labels[-1][0]:
            labels.append(("", []))
        wild = any("-" in pattern for pattern in flat)
        select = self.expressions.text(switch.select)
        return [Case("casez" if wild else "case", select, labels)]

    # -- the parts of the text ---------------------------------------------------------------

    def run(self, header: Sequence[str], port_order: Sequence[str]) -> str:
        self.in_place: dict[str, Cell] = {}
        self.printed: set[str] = set()
        for cell in self.module.cells:
            if cell.kind in RIGHT_SIDE:
                name = cell.ports["Y"][0].wire or ""
                if name in self.names.auto and self.reads.get(name) == 1 and self._fits(cell):
                    self.in_place[name] = cell

        clocked, folded = self._clocked()
        combinational: list[str] = []
        for process in self.module.processes:
            if process.target in folded:
                continue
            value = process.simple_value()
            name = self.names.wire[process.target]
            if value is not None:
                combinational += wrapped(f"assign {name} = {self._right_side(value)};", 2)
            else:
                self.registers.add(process.target)
                block = self._block(process.body, None)
                combinational += ["  always @* begin", *lines_of(block, 4), "  end"]
        for left, right in self.module.connects:
            if self._is_output(left):
                text = f"assign {self._target(left)} = {self._right_side(right)};"
                combinational += wrapped(text, 2)
        instances = self._instances()
        memories = self._memories()
        checks = self._checks()
        assigns: list[str] = []
        for cell in self.module.cells:
            if "Y" in cell.ports and not cell.is_instance:
                assigns += self._assign(cell)
        assigns = self._finish_in_place(assigns)

        fields = self._fields()
        unused = self._unused()
        parts = [self._declarations(), fields, assigns, combinational, instances, memories]
        parts += [clocked, checks, unused]
        lines = [*header, "", "`default_nettype none", "", *self._ports(port_order)]
        for lines_of_part in parts:
            if lines_of_part:
                lines += [*lines_of_part, ""]
        if lines[-1] == "":
            lines.pop()
        return "\n".join([*lines, "", "endmodule", "", "`default_nettype wire", ""])

    def _fits(self, cell: Cell) -> bool:
        return width_of(cell.ports["A"]) <= width_of(cell.ports["Y"])

    def _finish_in_place(self, assigns: list[str]) -> list[str]:
        """Give those a wire of their own that no whole right side has taken."""
        for name, cell in list(self.in_place.items()):
            if name not in self.printed:
                del self.in_place[name]
                assigns += self._assign(cell)
        return assigns

    def _assign(self, cell: Cell) -> list[str]:
        wire = cell.ports["Y"][0].wire or ""
        if wire in self.expressions.inline or wire in self.in_place:
            return []
        name = self.names.wire[wire]
        text = self.expressions.operator(cell)
        extra = width_of(cell.ports["A"]) - width_of(cell.ports["Y"])
        if cell.kind in ("$shr", "$sshr", "$shift") and extra > 0:
            whole = width_of(cell.ports["A"])
            self.extra.append(f"{name}_whole[{whole - 1}:{whole - extra}]")
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
            kind = "reg " if wire.name in self.registers else "wire"
            init = ""
            declarations.append(
                f"  {wire.port:6} {kind} {self._vector(wire.name)}{self.names.wire[wire.name]}{init}"
            )
        return [f"module {self.module.name} (", ",\n".join(declarations), ");", ""]

    def _vector(self, name: str) -> str:
        wire = self.module.wires[name]
        sign = "signed " if name in self.names.signed and wire.width > 1 else ""
        return f"{sign}[{wire.width - 1}:0] " if wire.width > 1 else ""

    def _declarations(self) -> list[str]:
        driven = {s[0].wire for c in self.module.cells for s in c.ports.values() if s}
        driven |= set(self.processes)
        lines = []
        for name, wire in self.module.wires.items():
            if wire.port or name not in driven or name not in self.names.wire:
                continue
            if name in self.expressions.inline or name in self.in_place or name in self.folded:
                continue
            kind = "reg" if name in self.registers else "wire"
            lines.append(f"  {kind} {self._vector(name)}{self.names.wire[name]};")
        for memory in self.module.memories.values():
            vector = f"[{memory.width - 1}:0] " if memory.width > 1 else ""
            lines.append(f"  reg {vector}{self.names.wire[memory.name]} [0:{memory.depth - 1}];")
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
            child = self.children[cell.kind[1:]]
            lines.append(f"  {cell.kind[1:]} {self.names.wire[f'instance {cell.name}']} (")
            pins = []
            order = {port[1:]: index for index, port in enumerate(child.ports)}
            for port, signal in sorted(cell.ports.items(), key=lambda item: order[item[0]]):
                if port in child.outputs:
                    text = self._target(signal)
                else:
                    text = self.expressions.text(signal)
                pins.append(f".{child.ports[chr(92) + port]}({text})")
            for index, pin in enumerate(pins):
                lines += wrapped(pin + ("," if index + 1 < len(pins) else ""), 4)
            lines += ["  );"]
        return lines

    def _memories(self) -> list[str]:
        lines: list[str] = []
        for cell in self.module.cells:
            if cell.kind == "$meminit_v2":
                lines += self._memory_init(cell)
        for cell in self.module.cells:
            if cell.kind == "$memwr_v2":
                lines += self._memory_write(cell)
        for cell in self.module.cells:
            if cell.kind == "$memrd_v2":
                lines += self._memory_read(cell)
        return lines

    def _memory_init(self, cell: Cell) -> list[str]:
        memory = self.module.memories[str(cell.parameters["MEMID"])]
        name = self.names.wire[memory.name]
        bits = "".join(chunk.bits for chunk in reversed(cell.ports["DATA"]))
        words = [bits[index : index + memory.width] for index in range(0, len(bits), memory.width)]
        words.reverse()
        if len(words) > 4 and len(set(words)) == 1:
            return [
                f"  integer {name}_word;",
                f"  initial for ({name}_word = 0; {name}_word < {len(words)}; "
                f"{name}_word = {name}_word + 1)",
                f"    {name}[{name}_word] = {literal(words[0])};",
            ]
        inner = [f"    {name}[{index}] = {literal(word)};" for index, word in enumerate(words)]
        return ["  initial begin", *inner, "  end"]

    def _edge(self, cell: Cell, port: str = "CLK", key: str = "CLK_POLARITY") -> str:
        edge = "posedge" if cell.parameters.get(key, 1) else "negedge"
        return f"always @({edge} {self.expressions.text(cell.ports[port])})"

    def _word(self, cell: Cell) -> str:
        memory = self.module.memories[str(cell.parameters["MEMID"])]
        address = self.expressions.text(cell.ports["ADDR"]) if cell.ports["ADDR"] else "0"
        return f"{self.names.wire[memory.name]}[{address}]"

    def _memory_write(self, cell: Cell) -> list[str]:
        word, enable, data = self._word(cell), cell.ports["EN"], cell.ports["DATA"]
        block: Block = []
        bits = list(bits_of(enable))
        start = 0
        while start < len(bits):
            stop = start
            while stop < len(bits) and bits[stop] == bits[start]:
                stop += 1
            target = word + span(start, stop - start, len(bits))
            line = Line(f"{target} <= {self.expressions.text(part(data, start, stop - start))};")
            if bits[start].bits == "1":
                merge(block, [line])
            elif bits[start].bits != "0":
                merge(block, [If([(self.expressions.text((bits[start],)), [line])])])
            start = stop
        return ["  " + self._edge(cell) + " begin", *lines_of(block, 4), "  end"]

    def _memory_read(self, cell: Cell) -> list[str]:
        output = cell.ports["DATA"][0].wire or ""
        name, word = self.names.wire[output], self._word(cell)
        if not cell.parameters["CLK_ENABLE"]:
            return [f"  assign {name} = {word};"]
        self.registers.add(output)
        block: Block = [Line(f"{name} <= {word};")]
        mask = str(cell.parameters["TRANSPARENCY_MASK"] or "0")
        transparent = int(mask) if mask.isdigit() else 0
        for write in self.module.cells:
            same = write.kind == "$memwr_v2" and write.parameters["MEMID"] == cell.parameters["MEMID"]
            if same and transparent >> int(write.parameters["PORTID"]) & 1:
                block += self._bypass(cell, write, name)
        enable = cell.ports["EN"]
        if enable[0].bits != "1":
            block = [If([(self.expressions.text(enable), block)])]
        return ["  " + self._edge(cell) + " begin", *lines_of(block, 4), "  end"]

    def _bypass(self, cell: Cell, write: Cell, name: str) -> Block:
        enable = write.ports["EN"]
        if len(set(bits_of(enable))) != 1:
            raise NotImplementedError("transparent read beside a write port with byte enables")
        read_at = self.expressions.operand(cell.ports["ADDR"])
        write_at = self.expressions.operand(write.ports["ADDR"])
        bit = self.expressions.operand(part(enable, 0, 1))
        condition = f"{bit} & ({read_at} == {write_at})"
        data = self.expressions.text(write.ports["DATA"])
        return [If([(condition, [Line(f"{name} <= {data};")])])]

    def _clocked(self) -> tuple[list[str], set[str]]:
        """Print the registers, those of one clock and reset in one block."""
        self.folded: set[str] = set()
        groups: dict[tuple[str, str], tuple[Block, Block]] = {}
        initial: list[str] = []
        for cell in self.module.cells:
            if cell.kind != "$dff":
                continue
            q = cell.ports["Q"][0].wire or ""
            self.registers.add(q)
            init = self.module.wires[q].init
            if init is not None:
                initial.append(f"{self.names.wire[q]} = {literal(init)};")
            body, reset = self._register_body(cell)
            key = (self._edge(cell), reset[0] if reset else "")
            resets, block = groups.setdefault(key, ([], []))
            if reset:
                resets.append(Line(f"{self.names.wire[q]} <= {literal(reset[1])};"))
            merge(block, body)
        lines: list[str] = []
        if initial:
            lines += ["  initial begin", *("    " + line for line in initial), "  end"]
        for (edge, reset_name), (resets, block) in groups.items():
            lines.append("")
            inner: Block = [If([(reset_name, resets), ("", block)])] if reset_name else block
            lines += [f"  {edge} begin", *lines_of(inner, 4), "  end"]
        return [line for index, line in enumerate(lines) if line or index], self.folded

    def _register_body(self, cell: Cell) -> tuple[Block, tuple[str, str] | None]:
        q = cell.ports["Q"][0].wire or ""
        data = cell.ports["D"]
        source = data[0].wire if len(data) == 1 else None
        process = self.processes.get(source or "")
        whole = process and data[0].width == self.module.wires[source or ""].width
        only = source and self.reads[source] == 1 and source in self.names.auto
        if not (process and whole and only and source):
            return [Line(f"{self.names.wire[q]} <= {self._right_side(data)};")], None
        self.folded.add(source)
        body = list(process.body)
        reset = None
        last = body[-1]
        if isinstance(last, Switch) and width_of(last.select) == 1 and len(last.cases) == 1:
            patterns, inner = last.cases[0]
            is_constant = len(inner) == 1 and isinstance(inner[0], Assign)
            if patterns == ["1"] and is_constant and last.select[0].wire == "\\rst":
                assign = inner[0]
                assert isinstance(assign, Assign)
                constant = all(chunk.wire is None for chunk in assign.value)
                if constant and width_of(assign.target) == self.module.wires[source].width:
                    reset = ("rst", "".join(c.bits for c in reversed(assign.value)))
                    self.expressions.text(last.select)  # counts as read
                    body.pop()
        first = body[0]
        if isinstance(first, Assign):
            hold = tuple(bits_of(first.value)) == tuple(bits_of(cell.ports["Q"]))
            if hold:
                body.pop(0)
        return self._block(body, q), reset

    def _checks(self) -> list[str]:
        """Assertions of the source: a simulation stops where one fails."""
        lines: list[str] = []
        has_reset = "\\rst" in self.module.wires
        for cell in self.module.cells:
            if cell.kind != "$check" or cell.parameters["FLAVOR"] != "assert":
                continue
            terms = [self.expressions.negated(cell.ports["A"])]
            if cell.ports["EN"][0].bits != "1":
                terms.insert(0, self.expressions.operand(cell.ports["EN"]))
            if has_reset:
                terms.insert(0, "~rst")
                self.expressions.read["\\rst"] = 1
            edge = self._edge(cell, "TRG", "TRG_POLARITY")
            lines += wrapped(f"{edge} if ({' & '.join(terms)}) begin", 2)
            lines += [
                f'    $display("%m: assertion failed at %0t", $time);',
                "    $stop;",
                "  end",
            ]
        return ["`ifndef SYNTHESIS", *lines, "`endif"] if lines else []

    def _unused(self) -> list[str]:
        """Name the bits that nothing reads: lint then knows that they are meant."""
        pieces: list[str] = []
        driven = {s[0].wire for c in self.module.cells for s in c.ports.values() if s}
        driven |= set(self.processes)
        for name, wire in self.module.wires.items():
            hidden = name in self.expressions.inline or name in self.in_place or name in self.folded
            if wire.port == "output" or hidden or name not in self.names.wire:
                continue
            if wire.port or name in driven:
                mask = self.expressions.read.get(name, 0)
                pieces += _gaps(self.names.wire[name], wire.width, mask)
        for (wire_name, index), mask in sorted(self.expressions.field_read.items()):
            field = self.names.fields[wire_name][index]
            pieces += _gaps(field.name, field.width, mask)
        pieces += self.extra
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


def _overlap(patterns: Sequence[str]) -> bool:
    """Whether two patterns match the same value."""
    if all("-" not in pattern for pattern in patterns):
        return len(set(patterns)) != len(patterns)
    return any(
        all(a in ("-", b) or b == "-" for a, b in zip(left, right, strict=True))
        for index, left in enumerate(patterns)
        for right in patterns[index + 1 :]
    )
