"""What the printers of one module share: names, expressions, and which wires stand in place.

An expression without a name of its own is printed where it is read, if that is once or if it is
short; sums and products only as a whole right side, where Verilog's widths cannot change them.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from hdl.verilog.expressions import ANYWHERE, RIGHT_SIDE, Expressions, span
from hdl.verilog.names import Names
from hdl.verilog.rtlil import Assign, Cell, Module, Process, Switch
from hdl.verilog.signals import Signal, width_of

__all__ = ["Child", "Context"]

_INLINE_USES = 8
_INLINE_LENGTH = 40


class Child(Protocol):
    """A module that this one instantiates; see ``WrittenModule``."""

    ports: dict[str, str]
    outputs: set[str]


class Context:
    """``registers``: wires that an ``always`` block drives; ``folded``: next values inside one."""

    def __init__(self, module: Module, names: Names, children: Mapping[str, Child]) -> None:
        self.module = module
        self.names = names
        self.children = children
        self.expressions = Expressions(module, names)
        self.processes: dict[str, Process] = {p.target: p for p in module.processes}
        self.reads = self._count_reads()
        self.registers: set[str] = set()
        self.folded: set[str] = set()
        self.printed: set[str] = set()
        self.in_place: dict[str, Cell] = {}
        self._choose_inline()
        self._choose_in_place()

    def is_output(self, signal: Signal) -> bool:
        """Whether ``signal`` is an output port."""
        return self.module.wires[signal[0].wire or ""].port == "output"

    def is_hidden(self, wire: str) -> bool:
        """Whether the text has no declaration of ``wire``."""
        return wire in self.expressions.inline or wire in self.in_place or wire in self.folded

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
        signals += [right for left, right in self.module.connects if self.is_output(left)]
        return signals

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

    def right_side(self, signal: Signal) -> str:
        """Print the right side of an assignment; a sum that only this reads stands in place."""
        if len(signal) == 1 and signal[0].wire in self.in_place:
            cell = self.in_place[signal[0].wire or ""]
            self.printed.add(signal[0].wire or "")
            return self.expressions.operator(cell)
        return self.expressions.text(signal)

    def target(self, signal: Signal, wire: str | None = None) -> str:
        """Print a left side; ``wire`` stands for the process's own wire if given."""
        pieces = []
        for chunk in reversed(signal):
            name = wire or chunk.wire
            assert name is not None
            whole = self.module.wires[name].width
            pieces.append(self.names.wire[name] + span(chunk.offset, chunk.width, whole))
        return pieces[0] if len(pieces) == 1 else "{" + ", ".join(pieces) + "}"

    def _choose_in_place(self) -> None:
        for cell in self.module.cells:
            if cell.kind in RIGHT_SIDE:
                name = cell.ports["Y"][0].wire or ""
                fits = width_of(cell.ports["A"]) <= width_of(cell.ports["Y"])
                if name in self.names.auto and self.reads.get(name) == 1 and fits:
                    self.in_place[name] = cell

    def take_unprinted(self) -> list[Cell]:
        """Return those that no whole right side has taken; they need a wire of their own."""
        left = [name for name in self.in_place if name not in self.printed]
        return [self.in_place.pop(name) for name in left]
