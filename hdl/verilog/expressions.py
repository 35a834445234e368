"""Signals and operators as Verilog expressions whose operands have exactly the width needed.

Verilog would widen an operand to its context; here nothing is left to that rule, except the carry
of a sum and the full width of a product.
"""

from hdl.verilog.names import Names
from hdl.verilog.rtlil import Cell, Module
from hdl.verilog.signals import Chunk, Signal, bits_of, part, sign_extended, width_of, zero_extended

__all__ = ["Expressions", "literal"]

_BINARY = {
    "$add": "+",
    "$sub": "-",
    "$mul": "*",
    "$and": "&",
    "$or": "|",
    "$xor": "^",
    "$eq": "==",
    "$ne": "!=",
    "$lt": "<",
    "$le": "<=",
    "$gt": ">",
    "$ge": ">=",
}
_REDUCE = {"$reduce_bool": "|", "$reduce_or": "|", "$reduce_and": "&", "$reduce_xor": "^"}
_BITWISE = ("$and", "$or", "$xor")
_COMPARE = ("$eq", "$ne", "$lt", "$le", "$gt", "$ge")
# Self-determined results: an expression of these may stand inside any other.
ANYWHERE = frozenset({*_BITWISE, *_COMPARE, *_REDUCE, "$not"})
# Right only as the whole right side of an assignment of the same width.
RIGHT_SIDE = frozenset({"$add", "$sub", "$mul", "$neg", "$shl", "$shr", "$sshr", "$mux"})


def literal(bits: str) -> str:
    """``"0101"`` -> ``4'd5``; unknown bits stay binary."""
    width = len(bits)
    if set(bits) - {"0", "1"}:
        return f"{width}'b{bits}"
    value = int(bits, 2)
    if width == 1:
        return f"1'b{value}"
    return f"{width}'d{value}" if value < 10 else f"{width}'h{value:x}"


class Expressions:
    """Prints signals of one module; remembers which bits and fields were read."""

    def __init__(self, module: Module, names: Names) -> None:
        self.module = module
        self.names = names
        self.read: dict[str, int] = {}
        self.field_read: dict[tuple[str, int], int] = {}
        self.inline: dict[str, Cell] = {}
        self.texts: dict[str, str] = {}

    def _chunk(self, chunk: Chunk) -> str:
        if chunk.wire is None:
            return literal(chunk.bits)
        if chunk.wire in self.inline:
            return self.texts.setdefault(chunk.wire, self.operator(self.inline[chunk.wire]))
        mask = ((1 << chunk.width) - 1) << chunk.offset
        self.read[chunk.wire] = self.read.get(chunk.wire, 0) | mask
        name = self.names.wire[chunk.wire]
        width = self.module.wires[chunk.wire].width
        if chunk.width == width:
            return name
        offset = chunk.offset
        best = -1
        fields = self.names.fields.get(chunk.wire, [])
        for index, field in enumerate(fields):
            inside = field.offset <= offset
            inside &= offset + chunk.width <= field.offset + field.width
            if inside and (best < 0 or field.width < fields[best].width):
                best = index
        if best >= 0:
            field = fields[best]
            key = (chunk.wire, best)
            self.field_read[key] = self.field_read.get(key, 0) | (mask >> field.offset)
            name, offset, width = field.name, offset - field.offset, field.width
        return name + span(offset, chunk.width, width)

    def is_signed(self, signal: Signal) -> bool:
        """Whether ``text(signal)`` is a signed name."""
        if len(signal) != 1 or signal[0].wire is None or signal[0].wire in self.inline:
            return False
        chunk = signal[0]
        if chunk.width == self.module.wires[chunk.wire or ""].width:
            return chunk.wire in self.names.signed
        fields = [
            field
            for field in self.names.fields.get(chunk.wire or "", [])
            if (field.offset, field.width) == (chunk.offset, chunk.width)
        ]
        return bool(fields) and fields[0].signed

    def text(self, signal: Signal) -> str:
        """Print ``signal``; the result may need parentheses beside an operator."""
        if len(signal) == 1:
            return self._chunk(signal[0])
        # The most significant first; runs of one bit become a replication.
        pieces: list[str] = []
        chunks = list(reversed(signal))
        index = 0
        while index < len(chunks):
            run = 1
            while index + run < len(chunks) and chunks[index + run] == chunks[index]:
                run += 1
            first = chunks[index]
            text = self._chunk(first)
            pieces.append(text if run == 1 else f"{{{run}{{{text}}}}}")
            index += run
        if len(pieces) == 1:
            return pieces[0]
        return "{" + ", ".join(pieces) + "}"

    def operand(self, signal: Signal) -> str:
        """Print ``signal`` so that it can stand beside an operator."""
        text = self.text(signal)
        cell = self.inline.get(signal[0].wire or "") if len(signal) == 1 else None
        return text if cell is None or cell.kind == "$not" else f"({text})"

    def negated(self, signal: Signal) -> str:
        """Print the complement of one bit."""
        cell = self.inline.get(signal[0].wire or "")
        if cell and cell.kind == "$not":
            return self.operand(cell.ports["A"])
        return f"~{self.operand(signal)}"

    def is_inline(self, signal: Signal) -> bool:
        """Whether ``signal`` is an expression rather than a name."""
        return len(signal) == 1 and signal[0].wire in self.inline

    def cast(self, signal: Signal, signed: bool, *, alone: bool = False) -> str:
        """Print an operand with the signedness that the operator needs.

        ``alone``: the operator is wider than the operand, so an expression must not widen.
        """
        is_constant = all(chunk.wire is None for chunk in signal)
        if signed and is_constant:
            return self.text(signal).replace("'", "'s", 1)
        if alone and self.is_inline(signal):
            return f"${'signed' if signed else 'unsigned'}({self.text(signal)})"
        if signed != self.is_signed(signal):
            return f"${'signed' if signed else 'unsigned'}({self.text(signal)})"
        return self.operand(signal)

    def operator(self, cell: Cell) -> str:  # noqa: PLR0911  (one return for each operator)
        """Print the operation of ``cell`` as the right side of an assignment to its output."""
        kind = cell.kind
        a, b = cell.ports["A"], cell.ports.get("B", ())
        width = width_of(cell.ports["Y"])
        signed = bool(cell.parameters.get("A_SIGNED", 0))
        extend = sign_extended if signed else zero_extended
        if kind == "$not":
            return f"~{self.operand(extend(a, width))}"
        if kind in _REDUCE:
            return self.text(a) if width_of(a) == 1 else f"{_REDUCE[kind]}{self.operand(a)}"
        if kind == "$neg":
            return f"-{self.operand(extend(a, width))}"
        if kind == "$mux":
            return f"{self.operand(cell.ports['S'])} ? {self.operand(b)} : {self.operand(a)}"
        if kind in ("$shl", "$shr", "$sshr", "$shift"):
            return self._shift(kind, extend(a, max(width, width_of(a))), b, signed)
        if kind in _BITWISE:
            a, b = extend(a, width), extend(b, width)
            return f"{self.operand(a)} {_BINARY[kind]} {self.operand(b)}"
        if kind in _COMPARE:
            common = max(width_of(a), width_of(b))
            a, b = extend(a, common), extend(b, common)
            if kind in ("$eq", "$ne"):
                return f"{self.operand(a)} {_BINARY[kind]} {self.operand(b)}"
            return f"{self.cast(a, signed)} {_BINARY[kind]} {self.cast(b, signed)}"
        if kind in ("$add", "$sub"):
            widest = max(width_of(a), width_of(b))
            carry = kind == "$add" and widest < width and width > 1
            carry &= not (self.is_inline(a) or self.is_inline(b))
            inner = width - 1 if carry else width
            a, b = extend(a, inner), extend(b, inner)
            if inner == width:
                return f"{self.operand(a)} {_BINARY[kind]} {self.operand(b)}"
            return f"{self.cast(a, signed)} {_BINARY[kind]} {self.cast(b, signed)}"
        if kind == "$mul":
            # At full width the product needs no extension, and a synthesizer sees its real size.
            return f"{self.cast(a, signed, alone=True)} * {self.cast(b, signed, alone=True)}"
        raise NotImplementedError(f"Verilog for the RTLIL cell {kind}")

    def _shift(self, kind: str, a: Signal, count: Signal, signed: bool) -> str:
        sign = "<<" if kind == "$shl" else ">>>" if signed and kind != "$shr" else ">>"
        left = self.cast(a, signed) if sign == ">>>" else self.operand(a)
        return f"{left} {sign} {self.operand(count)}"

    def pattern(self, select: Signal, pattern: str) -> str:
        """Print the condition that ``select`` matches ``pattern`` (``-``: any)."""
        bits = list(bits_of(select))
        terms: list[str] = []
        index = 0
        for chunk in select:
            want = pattern[len(pattern) - index - chunk.width : len(pattern) - index]
            index += chunk.width
            if set(want) == {"-"}:
                continue
            if chunk.width == 1:
                terms.append(self.operand((chunk,)) if want == "1" else self.negated((chunk,)))
            elif "-" not in want:
                terms.append(f"({self.text((chunk,))} == {literal(want)})")
            else:
                for offset, bit in enumerate(reversed(want)):
                    if bit != "-":
                        text = self.text(part((chunk,), offset, 1))
                        terms.append(text if bit == "1" else f"~{text}")
        assert len(bits) == len(pattern)
        if len(terms) == 1:
            only = terms[0]
            return only[1:-1] if only.startswith("(") and only.endswith(")") else only
        return " & ".join(reversed(terms)) or "1'b1"


def span(offset: int, width: int, whole: int) -> str:
    """``[offset]`` or ``[high:low]``; nothing for the whole vector."""
    if width == whole:
        return ""
    return f"[{offset}]" if width == 1 else f"[{offset + width - 1}:{offset}]"
